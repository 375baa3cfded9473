"""The shapes that other clients speak: OpenAI's pictures and A1111's web API, through the very same queue and limits.

`openai` and `a1111` translate requests and answers and need no server; the `_routes` beside them are mounted by the
product that names them (components.contracts.Product.APIS).
"""

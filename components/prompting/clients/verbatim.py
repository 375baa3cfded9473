"""The client that changes nothing: the request goes to the model as it was typed."""

from collections.abc import Sequence

from components.prompting.schema import Draft, Part, PromptRequest


class VerbatimClient:
    """Takes the place of a service that fails where no reader knows the model's words."""

    name = "verbatim"
    model = "verbatim"

    def draft(self, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        """The request's text and what it does not want, unread."""
        unwanted = (request.negative,) if request.negative else ()
        return Draft(parts=(Part(text=request.text),), negative=unwanted)

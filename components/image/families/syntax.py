"""What a prompt's text may say besides words. No torch here: a server reads prompts before a model is loaded."""

import re

MAX_CHUNKS = 8
"""Of the text encoder's length; longer prompts are refused."""
HEAVIEST = 2.0
_WEIGHTED = re.compile(r"\(([^():]+):\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\)")


def parts(prompt: str) -> list[tuple[str, float]]:
    """Text and its weight, in order: `a, (b:1.2)` is `[("a, ", 1.0), ("b", 1.2)]`; weights are cut at `HEAVIEST`.

    Brackets without a number are text.
    """
    found, end = [], 0
    for match in _WEIGHTED.finditer(prompt):
        found += [(prompt[end : match.start()], 1.0), (match[1], min(float(match[2]), HEAVIEST))]
        end = match.end()
    return [(text, weight) for text, weight in [*found, (prompt[end:], 1.0)] if text] or [("", 1.0)]

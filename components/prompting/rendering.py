"""From the layers of a prompt to the text that a model reads."""

from collections.abc import Callable, Iterator

from components.prompting.schema import DEFAULT_WEIGHTS, Layer, RobustPrompt, plain

CLIP_TOKENS = 75
"""Tokens that a CLIP text encoder reads besides its start and end marks."""


def rendered(prompt: RobustPrompt, count: Callable[[str], int] | None = None, limit: int = CLIP_TOKENS) -> str:
    """The tags in order of importance, as many as `limit` tokens hold; a tag that does not weigh 1 as `(tag:1.2)`.

    Trigger, style, subject, one canonical word for each attribute in the vocabulary's order, extra, quality, synonyms:
    least important last, and dropped from there. `count` is the model's own: tokens of a text without its marks.
    Without it nothing is dropped. The first tag stays even where it alone is too long. A pipeline that reads several
    chunks has a `limit` of as many times 75.
    """
    given = {**DEFAULT_WEIGHTS, **prompt.weights}
    layers = [(tag, given.get(layer, 1.0)) for layer, tag in _tags(prompt) if tag]
    weights = {tag: weight for tag, weight in reversed(layers) if weight > 0}
    tags = [_weighted(tag, weights[tag]) for tag in dict.fromkeys(tag for tag, _ in layers) if tag in weights]
    while count is not None and len(tags) > 1 and count(", ".join(tags)) > limit:
        tags.pop()
    return ", ".join(tags)


def unwanted(prompt: RobustPrompt) -> str:
    """The negative prompt."""
    return ", ".join(prompt.draft.negative)


def _weighted(tag: str, weight: float) -> str:
    """In the field's syntax; brackets and colons of the tag itself would be read as its own."""
    return tag if weight == 1.0 or any(mark in tag for mark in "():") else f"({tag}:{weight:g})"


def _tags(prompt: RobustPrompt) -> Iterator[tuple[Layer, str]]:
    draft = prompt.draft
    yield "trigger", plain(prompt.trigger)
    yield from (("style", plain(part)) for part in prompt.style.split(","))
    yield "subject", draft.subject
    yield from (("attributes", tag) for tag in prompt.attributes)
    yield from (("extra", tag) for tag in draft.extra)
    yield from (("quality", tag) for tag in draft.quality)
    yield from (("synonyms", tag) for tag in prompt.synonyms)

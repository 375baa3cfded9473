"""From the layers of a prompt to the text that a model reads."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from components.prompting.schema import DEFAULT_WEIGHTS, Layer, Part, RobustPrompt, plain

CLIP_TOKENS = 75
"""Tokens that a CLIP text encoder reads besides its start and end marks."""

_BRACKETS = frozenset("()[]{}<>")
_STRETCH = re.compile(r"[^,、\n]*[,、\n][,、\s]*|[^,、\n]+")

_BLANKS = " \t\u3000"
_SEPARATORS = f",、\n{_BLANKS}"


def rendered(prompt: RobustPrompt, count: Callable[[str], int] | None = None, limit: int = CLIP_TOKENS) -> str:
    """Trigger, style, the request, synonyms; a tag that does not weigh 1 as `(tag:1.2)`.

    A request that was read in its place stays in its order; of another answer subject, attributes, extra and quality
    follow each other. What `limit` tokens do not hold is dropped: synonyms, then tags that tell no attribute, then the
    others, each from the end; the first tag stays even where it alone is too long.

    Args:
        count: the model's own, tokens of a text without its marks; None: nothing is dropped.
        limit: as many times 75 as the model reads chunks.
    """
    weights = {**DEFAULT_WEIGHTS, **prompt.weights}
    tags = _placed(prompt, weights) if prompt.draft.parts else _layered(prompt, weights)
    while count is not None and len(tags) > 1 and count(_joined(tags)) > limit:
        del tags[_least(tags)]
    return _joined(tags)


def unwanted(prompt: RobustPrompt) -> str:
    """The negative prompt."""
    return ", ".join(prompt.draft.negative)


@dataclass(frozen=True)
class _Tag:
    """A stretch that is dropped as a whole; `glue` is what stands behind it."""

    text: str
    glue: str = ", "
    rank: int = 0


def _joined(tags: list[_Tag]) -> str:
    return "".join(f"{tag.text}{tag.glue}" for tag in tags[:-1]) + tags[-1].text if tags else ""


def _least(tags: list[_Tag]) -> int:
    """The last of those that matter least; never the first."""
    return max(range(1, len(tags)), key=lambda at: (tags[at].rank, at))


def _layered(prompt: RobustPrompt, weights: Mapping[Layer, float]) -> list[_Tag]:
    """One tag each, most important first, each once."""
    layers = [(tag, weights.get(layer, 1.0)) for layer, tag in _tags(prompt) if tag]
    heaviest = {tag: weight for tag, weight in reversed(layers) if weight > 0}
    return [_Tag(_weighted(tag, heaviest[tag])) for tag in dict.fromkeys(tag for tag, _ in layers) if tag in heaviest]


def _placed(prompt: RobustPrompt, weights: Mapping[Layer, float]) -> list[_Tag]:
    """The request as it was typed, cut behind its commas; 1 and 2 rank what goes first when room is short."""
    return [
        *_around((prompt.trigger,), weights.get("trigger", 1.0)),
        *_around(prompt.style.split(","), weights.get("style", 1.0)),
        *_request(prompt.draft.parts, weights),
        *_around(prompt.synonyms, weights.get("synonyms", 1.0), rank=2),
    ]


def _around(texts: Iterable[str], weight: float, rank: int = 0) -> list[_Tag]:
    return [_Tag(_weighted(tag, weight), rank=rank) for text in texts if weight > 0 and (tag := plain(text))]


def _request(parts: tuple[Part, ...], weights: Mapping[Layer, float]) -> list[_Tag]:
    # Weights inside of somebody's brackets would be read as part of them.
    bare = not any(mark in _BRACKETS for part in parts for mark in part.text)
    tags: list[_Tag] = []
    text, telling = "", False
    for part in parts:
        if part.layer:
            weight = weights.get(part.layer, 1.0) if bare else 1.0
            text += _weighted(part.text, weight) if weight > 0 else ""
            telling = telling or part.layer == "attributes"
            continue
        for stretch in _STRETCH.findall(part.text):
            text += stretch
            if text.rstrip(_BLANKS) != text.rstrip(_SEPARATORS):
                tags += _closed(text, telling)
                text, telling = "", False
    return [*tags, *_closed(text, telling)]


def _closed(text: str, telling: bool) -> list[_Tag]:
    """A tag, and the comma that was typed behind it."""
    bare = text.strip(_SEPARATORS)
    glue = text[len(text.rstrip(_SEPARATORS)) :] or ", "
    return [_Tag(bare, glue, 0 if telling else 1)] if bare else []


def _weighted(tag: str, weight: float) -> str:
    """In the field's syntax; brackets and colons of the tag itself would be read as its own."""
    return tag if weight == 1.0 or any(mark in tag for mark in "():") else f"({tag}:{weight:g})"


def _tags(prompt: RobustPrompt) -> Iterator[tuple[Layer, str]]:
    draft = prompt.draft
    yield "trigger", plain(prompt.trigger)
    yield from (("style", plain(part)) for part in prompt.style.split(","))
    yield "subject", draft.subject
    yield from (("attributes", tag) for tag in prompt.attributes)
    # What nobody understood may be a name that the picture model knows.
    yield from (("extra", tag) for tag in (*draft.extra, *draft.unread))
    yield from (("quality", tag) for tag in draft.quality)
    yield from (("synonyms", tag) for tag in prompt.synonyms)

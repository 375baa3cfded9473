"""From the layers of a prompt to the text that a model reads."""

from collections.abc import Callable, Iterator

from components.prompting.schema import RobustPrompt, plain
from components.vocabulary import ATTRIBUTES, words

CLIP_TOKENS = 77


def rendered(prompt: RobustPrompt, count: Callable[[str], int] | None = None, limit: int = CLIP_TOKENS) -> str:
    """The tags in order of importance, as many as `limit` tokens hold.

    Trigger, style, subject, one canonical word for each attribute in the vocabulary's order, extra, quality: least
    important last, and dropped from there. `count` is the model's own: tokens of a text with its start and end marks.
    Without it nothing is dropped. The first tag stays even where it alone is too long.
    """
    tags = list(dict.fromkeys(tag for tag in _tags(prompt) if tag))
    while count is not None and len(tags) > 1 and count(", ".join(tags)) > limit:
        tags.pop()
    return ", ".join(tags)


def _tags(prompt: RobustPrompt) -> Iterator[str]:
    asked = prompt.draft.asked
    yield plain(prompt.trigger)
    yield from (plain(part) for part in prompt.style.split(","))
    yield prompt.draft.subject
    yield from (words(name, asked[name])[0] for name in ATTRIBUTES if name in asked)
    yield from prompt.draft.extra
    yield from prompt.draft.quality

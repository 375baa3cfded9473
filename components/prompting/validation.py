"""What a draft may not say: the checks that its schema cannot express."""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from components.portraits.vocabulary import ATTRIBUTES, words
from components.prompting.schema import Draft

TAG_WORDS = 8
# Weights, LoRA calls, wildcards: what prompt languages of other programs read as commands.
_SYNTAX = re.compile(r"[()\[\]{}<>|\\:]")


def meaning(tag: str) -> tuple[str, str] | None:
    """The attribute and value that a tag is a word for: `pink hair` -> (hair_color, pink)."""
    return _dictionary().get(tag.casefold())


def mistakes(draft: Draft) -> Sequence[str]:
    """One sentence for each tag that is no tag, contradicts an attribute, or is both asked for and unwanted."""
    layers = {"subject": (draft.subject,), "extra": draft.extra, "quality": draft.quality, "negative": draft.negative}
    found = [
        f"{layer}: {tag!r} {fault}."
        for layer, tags in layers.items()
        for tag in tags
        if (fault := _fault(layer, tag, draft))
    ]
    return tuple(found)


def mended(draft: Draft) -> Draft:
    """The draft without the tags that `mistakes` names: for the last client in the row, whom nobody replaces."""
    kept = {
        layer: tuple(tag for tag in getattr(draft, layer) if not _fault(layer, tag, draft))
        for layer in ("extra", "quality", "negative")
    }
    subject = "" if _fault("subject", draft.subject, draft) else draft.subject
    return draft.model_copy(update={**kept, "subject": subject})


@cache
def _dictionary() -> Mapping[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for attribute, values in ATTRIBUTES.items():
        for value in values:
            for word in (*words(attribute, value), *words(attribute, value, "ja")):
                found.setdefault(word.casefold(), (attribute, value))
    return found


def _fault(layer: str, tag: str, draft: Draft) -> str:
    if mark := _SYNTAX.search(tag):
        return f"holds {mark[0]!r}, which is no letter of a tag"
    if len(tag.split()) > TAG_WORDS:
        return f"is a sentence; a tag has at most {TAG_WORDS} words"
    return _unwanted(tag, draft) if layer == "negative" else _contradiction(tag, draft)


def _contradiction(tag: str, draft: Draft) -> str:
    known = meaning(tag)
    if known is None or draft.asked.get(known[0], known[1]) == known[1]:
        return ""
    return f"contradicts {known[0]} {draft.asked[known[0]]!r}"


def _unwanted(tag: str, draft: Draft) -> str:
    known = meaning(tag)
    if known is not None and draft.asked.get(known[0]) == known[1]:
        return f"is unwanted and asked for at once ({known[0]})"
    wanted = {each.casefold() for each in (draft.subject, *draft.extra, *draft.quality) if each}
    return "is unwanted and asked for at once" if tag.casefold() in wanted else ""

"""What a draft may not say: the checks that its schema cannot express."""

import re
from collections.abc import Iterator, Sequence

from components.prompting.schema import Draft, Reading
from components.prompting.vocabulary import Vocabulary

TAG_WORDS = 8
# Weights, LoRA calls, wildcards: what prompt languages of other programs read as commands. Names may hold brackets and
# colons: `saber (fate)`, `re:zero`.
_SYNTAX = re.compile(r"[\[\]{}<>|\\]|:\s*\d|\A\(|\)(?=.)|\([^)]*\Z|\(.*\(")


def mistakes(draft: Draft, vocabulary: Vocabulary) -> Sequence[str]:
    """One sentence for each reading that the vocabulary does not hold, and for each tag that is no tag, contradicts an
    attribute, or is both asked for and unwanted."""
    layers = {"subject": (draft.subject,), "extra": draft.extra, "quality": draft.quality, "negative": draft.negative}
    unknown = [fault for reading in draft.attributes for fault in _unknown(reading, vocabulary)]
    faults = [
        f"{layer}: {tag!r} {fault}."
        for layer, tags in layers.items()
        for tag in tags
        if (fault := _fault(layer, tag, draft, vocabulary))
    ]
    return (*unknown, *faults)


def mended(draft: Draft, vocabulary: Vocabulary) -> Draft:
    """The draft without what `mistakes` names: for the last client in the row, whom nobody replaces."""
    known = tuple(reading for reading in draft.attributes if not any(_unknown(reading, vocabulary)))
    draft = draft.model_copy(update={"attributes": known})
    kept = {
        layer: tuple(tag for tag in getattr(draft, layer) if not _fault(layer, tag, draft, vocabulary))
        for layer in ("extra", "quality", "negative")
    }
    subject = "" if _fault("subject", draft.subject, draft, vocabulary) else draft.subject
    return draft.model_copy(update={**kept, "subject": subject})


def _unknown(reading: Reading, vocabulary: Vocabulary) -> Iterator[str]:
    values = vocabulary.attributes.get(reading.attribute)
    if values is None:
        known = ", ".join(vocabulary.attributes) or "none"
        yield f"attributes: {reading.attribute!r} is unknown; known: {known}."
        return
    for value in (reading.value, *reading.alternatives):
        if value not in values:
            yield f"attributes: {reading.attribute} {value!r} is unknown; known: {', '.join(values)}."


def _fault(layer: str, tag: str, draft: Draft, vocabulary: Vocabulary) -> str:
    if mark := _SYNTAX.search(tag):
        return f"holds {mark[0]!r}, which is no letter of a tag"
    if len(tag.split()) > TAG_WORDS:
        return f"is a sentence; a tag has at most {TAG_WORDS} words"
    return _unwanted(tag, draft, vocabulary) if layer == "negative" else _contradiction(tag, draft, vocabulary)


def _contradiction(tag: str, draft: Draft, vocabulary: Vocabulary) -> str:
    """Only by the first word of another value: `open mouth`, a word for laughing, goes with a smile."""
    known = vocabulary.canonical(tag)
    if known is None or draft.asked.get(known[0], known[1]) == known[1]:
        return ""
    return f"contradicts {known[0]} {draft.asked[known[0]]!r}"


def _unwanted(tag: str, draft: Draft, vocabulary: Vocabulary) -> str:
    known = vocabulary.meaning(tag)
    if known is not None and draft.asked.get(known[0]) == known[1]:
        return f"is unwanted and asked for at once ({known[0]})"
    wanted = {each.casefold() for each in (draft.subject, *draft.extra, *draft.quality) if each}
    return "is unwanted and asked for at once" if tag.casefold() in wanted else ""

"""From a service's text to a draft that can be trusted, or a sentence for each thing that is wrong with it."""

import re
import unicodedata
from collections.abc import Iterable

from pydantic import ValidationError

from components.prompting.clients import Empty, WrongAnswer
from components.prompting.schema import Correction, Draft, PromptRequest, Reading, plain
from components.prompting.validation import mistakes
from components.prompting.vocabulary import Vocabulary

MAX_ANSWER = 20_000
MAX_PROBLEMS = 12
PROBABILITY_CAP = 0.95
"""A model's own probability is not calibrated, and nearly always too high (Xiong et al., arXiv 2306.13063)."""

_FENCE = re.compile(r"\A\s*```[a-z]*\s*(.*?)\s*```\s*\Z", re.DOTALL)


def parse(name: str, text: str, request: PromptRequest, vocabulary: Vocabulary) -> Draft:
    """The answer of the client `name` as a draft. Raises `Empty` or `WrongAnswer` with every problem."""
    if not text.strip():
        raise Empty(name)
    if len(text) > MAX_ANSWER:
        raise WrongAnswer(name, [f"The answer has {len(text)} characters; at most {MAX_ANSWER} are read."])
    draft = _settled(_read(name, text), request, vocabulary)
    problems = mistakes(draft, vocabulary)
    if problems:
        raise WrongAnswer(name, problems)
    return draft


def _read(name: str, text: str) -> Draft:
    # Local servers like to fence their JSON although a schema was given.
    fenced = _FENCE.match(text)
    try:
        return Draft.model_validate_json(fenced[1] if fenced else text)
    except ValidationError as error:
        problems = [_sentence(each["loc"], each["msg"]) for each in error.errors(include_url=False)]
    raise WrongAnswer(name, list(dict.fromkeys(problems))[:MAX_PROBLEMS])


def _sentence(place: Iterable[int | str], message: str) -> str:
    where = _line(".".join(str(step) for step in place))[:80] or "answer"
    return f"{where}: {_line(message.removeprefix('Value error, '))[:300]}."


def _line(text: str) -> str:
    """The model's own words in our sentence: no control characters, one line."""
    return " ".join("".join(" " if unicodedata.category(mark)[0] == "C" else mark for mark in text).split())


def _settled(draft: Draft, request: PromptRequest, vocabulary: Vocabulary) -> Draft:
    """Probabilities capped, false quotations dropped, attributes that stand among the tags put in their place."""
    quotable = _folded(request.text)
    readings = {reading.attribute: _capped(reading, quotable) for reading in draft.attributes}
    extra: list[str] = []
    for tag in dict.fromkeys(draft.extra):
        known = vocabulary.meaning(tag)
        if known is None or (known[0] in readings and readings[known[0]].value != known[1]):
            extra.append(tag)
        elif known[0] not in readings:
            readings[known[0]] = Reading(attribute=known[0], value=known[1], probability=PROBABILITY_CAP)
    said = tuple(_shown(each) for each in draft.corrections if _folded(each.said) in quotable)
    unread = tuple(tag for tag in draft.unread if _folded(tag) in quotable)
    told = {"attributes": tuple(readings.values()), "extra": tuple(extra), "corrections": said, "unread": unread}
    return draft.model_copy(update={**told, "parts": ()})


def _capped(reading: Reading, quotable: str) -> Reading:
    others = tuple(value for value in dict.fromkeys(reading.alternatives) if value != reading.value)
    quoted = plain(reading.said) if _folded(reading.said) in quotable else ""
    probability = min(reading.probability, PROBABILITY_CAP)
    return reading.model_copy(update={"alternatives": others, "said": quoted, "probability": probability})


def _shown(correction: Correction) -> Correction:
    return correction.model_copy(update={"said": plain(correction.said), "meant": plain(correction.meant)})


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())

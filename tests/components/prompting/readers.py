"""Small clients of our own, and an answer that every service may give."""

from collections.abc import Sequence
from typing import Any

from components.portraits.vocabulary import ATTRIBUTES, words
from components.prompting.schema import Draft, PromptRequest, Reading

REQUEST = PromptRequest(text="pnik hiar girl with glasses", trigger="kyarachar", style="flat color")

GOOD: dict[str, Any] = {
    "subject": "1girl",
    "attributes": [
        {"attribute": "glasses", "value": "yes", "said": "glasses", "probability": 0.9, "alternatives": []},
        {"attribute": "hair_color", "value": "pink", "said": "pnik hiar", "probability": 1, "alternatives": ["red"]},
    ],
    "extra": ["holding a cat"],
    "quality": [],
    "negative": ["hat"],
    "corrections": [{"said": "pnik", "meant": "pink", "why": "typo"}],
    "unread": [],
    "language": "en",
}


class WordReader:
    """Reads the canonical words; counts how often it is asked."""

    name = "words"
    model = "1"

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def draft(self, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        self.asked.append((request.text, tuple(problems)))
        readings = (
            Reading(attribute=attribute, value=value, probability=0.8)
            for attribute, values in ATTRIBUTES.items()
            for value in values
            if words(attribute, value)[0] in request.text
        )
        return Draft(subject="1girl", attributes=tuple(readings))

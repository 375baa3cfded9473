"""What goes in and out of the prompt generator: requests, drafts, robust prompts, and what every client offers."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, Field, field_validator

from components.prompting.vocabulary import Language
from components.recipe import Frozen

SCHEMA_VERSION = 2
MAX_REQUEST = 2000
MAX_ATTRIBUTES, MAX_EXTRA = 64, 24

_BREAKS = re.compile(r"[\r\n\t\f\v,;]+")


def plain(text: str) -> str:
    """One tag: NFC, no control or invisible characters, no separators, single blanks."""
    visible = "".join(mark for mark in unicodedata.normalize("NFC", text) if unicodedata.category(mark)[0] != "C")
    return " ".join(_BREAKS.sub(" ", visible).split())


Layer = Literal["trigger", "style", "subject", "attributes", "extra", "quality", "synonyms"]
"""What a prompt is made of, most important first; what must not be shown is a prompt of its own."""
LayerWeight = Annotated[float, Field(ge=0, le=2)]
DEFAULT_WEIGHTS: Mapping[Layer, float] = {"synonyms": 0.0}
"""Layers that do not weigh 1 unless told; 0 leaves a layer out."""

Tag = Annotated[str, Field(max_length=60), AfterValidator(plain)]


class PromptRequest(Frozen):
    """What a user typed, and the words that the model needs besides."""

    text: str = Field(min_length=1, max_length=MAX_REQUEST, description="Free text, Japanese or English.")
    language: Literal["auto", "en", "ja"] = Field("auto", description="Language of the text.")
    trigger: str = Field("", max_length=64, description="Trigger word of the character, put first.")
    style: str = Field("", max_length=64, description="Words of the style.")
    negative: str = Field("", max_length=MAX_REQUEST, description="What the picture should not show.")


class Reading(Frozen):
    """One attribute that the request asks for."""

    attribute: str = Field(description="An attribute of the vocabulary.")
    value: str = Field(description="One of its values.")
    said: str = Field("", max_length=120, description="The words of the request that say so.")
    probability: float = Field(1.0, ge=0, le=1, description="That this is what was meant.")
    alternatives: tuple[str, ...] = Field((), max_length=8, description="Other values it may have meant, likely first.")


class Part(Frozen):
    """A stretch of a prompt: of the request as it was typed, or what it was understood as."""

    text: str
    layer: Layer | None = Field(None, description="None: what stands between.")


class Correction(Frozen):
    """A word that was read as another."""

    said: str = Field(max_length=120)
    meant: str = Field(max_length=120)
    why: Literal["typo", "look-alike", "sound", "width", "synonym", "translation"]


class Draft(Frozen):
    """What a client fills in: data alone, no text that reaches the model unchecked."""

    subject: Tag = Field("", description="Who is drawn: `1girl`, `a boy`; empty where the request does not say.")
    attributes: tuple[Reading, ...] = Field((), max_length=MAX_ATTRIBUTES, description="At most one per attribute.")
    extra: tuple[Tag, ...] = Field(
        (), max_length=MAX_EXTRA, description="English tags for all else that the request asks for."
    )
    quality: tuple[Tag, ...] = Field((), max_length=8, description="Quality tags that the request names.")
    negative: tuple[Tag, ...] = Field((), max_length=MAX_EXTRA, description="What must not be shown.")
    corrections: tuple[Correction, ...] = Field((), max_length=64)
    unread: tuple[Tag, ...] = Field((), max_length=64, description="Words that could not be understood.")
    language: Language = "en"
    parts: tuple[Part, ...] = Field(
        (), description="The request from its first word to its last, joined; empty: the layers are put together."
    )

    @field_validator("attributes")
    @classmethod
    def _consistent(cls, attributes: tuple[Reading, ...]) -> tuple[Reading, ...]:
        names = [reading.attribute for reading in attributes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"contradiction: {', '.join(twice)} is told more than once")
        return attributes

    @property
    def asked(self) -> dict[str, str]:
        """Attribute -> value."""
        return {reading.attribute: reading.value for reading in self.attributes}


class Provenance(Frozen):
    """Where a prompt comes from."""

    client: str
    model: str
    cached: bool = False
    repaired: bool = Field(False, description="The first answer was wrong; the client was told and answered again.")
    fallback: str = Field("", description="Why another client than the chosen one answered; empty: it did not.")


class RobustPrompt(Frozen):
    """The layers of a prompt, most important first, and how sure we are that the picture will show them."""

    request: str
    draft: Draft
    trigger: str = ""
    style: str = ""
    attributes: tuple[Tag, ...] = Field((), description="The canonical word of each asked attribute.")
    synonyms: tuple[Tag, ...] = Field((), description="Redundant: of each asked attribute another word.")
    weights: Mapping[Layer, LayerWeight] = Field(
        default_factory=dict, description="Layer -> weight where it is not the default; 0 leaves the layer out."
    )
    confidence: float = Field(ge=0, le=1, description="Probability that every asked attribute is shown.")
    provenance: Provenance


class Client(Protocol):
    """Reads a request. Anything it raises is a `ClientError` of `components.prompting.clients`."""

    name: str
    model: str

    def draft(self, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        """The request as a draft; `problems` says what was wrong with the last answer (the repair round)."""

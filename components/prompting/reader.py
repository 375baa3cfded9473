"""A reader as a plug-in: whose words a model knows, who reads them offline, and how the evaluation tests that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from components.prompting.schema import Client
from components.prompting.vocabulary import Vocabulary

AttackKind = Literal["typo", "glyph", "phonetic"]
KINDS: tuple[AttackKind, ...] = get_args(AttackKind)
"""Mistakes of the finger, look-alike letters, words written as they sound (Gao et al., arXiv 2306.13103)."""


class Attack(Protocol):
    """Puts mistakes of one kind into words of a request that tell its attributes; equal seeds give equal texts."""

    def __call__(self, text: str, asked: Mapping[str, str], kind: AttackKind, *, seed: int) -> str: ...


@dataclass(frozen=True)
class Mistaken:
    """A request with mistakes in it, and the attributes whose words they hit, with their values."""

    text: str
    hits: Mapping[str, str]


class Collected(Protocol):
    """Puts mistakes that others have collected into a request. Raises EnvironmentProblem where they are not here."""

    def __call__(self, text: str, asked: Mapping[str, str], *, seed: int) -> Mistaken: ...


@dataclass(frozen=True)
class Reader:
    """What a recipe names by `reader`; the rooms of the models know nothing else of who reads.

    The rest is for the evaluation of prompts: our own attack, the attributes as a Japanese sentence, and kinds of
    mistakes that others have collected. A reader without them is used all the same, and those metrics are left out.
    """

    name: str
    vocabulary: Vocabulary
    offline: Callable[[], Client]
    attack: Attack | None = None
    translate: Callable[[Mapping[str, str]], str] | None = None
    outside: Mapping[str, Collected] = field(default_factory=dict)

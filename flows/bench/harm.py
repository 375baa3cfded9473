"""Whether reading a prompt does harm: which words of open prompts are lost, changed or moved out of their place.

A list of open prompts (`open/report.txt`) holds one a line under a heading `[category]`. Japanese words are parted by
`/` there, by hand, for nothing that reads prompts may decide what a word is. Under `[translations]` stands what may
take the place of a Japanese word (`word = translation, translation`); particles may go.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from components.errors import DataError
from components.image.evaluation.metrics import Metrics
from components.prompting.schema import RobustPrompt

REPORT = Path(__file__).parent / "open" / "report.txt"
_HEADING = re.compile(r"\[([a-z ]+)\]")
SURE = 0.9
"""Confidence from which nobody is asked back."""

_ENDINGS = "の が は を に で と な も や へ から まで て だ です ます た いる している"
_WEARING = "かけた かけている つけた 着た 着ている"
_PARTICLES = frozenset(f"{_ENDINGS} {_WEARING} 、 。".split())
"""What may go: particles and endings, and `wearing`, which a garment says by itself."""


@dataclass(frozen=True)
class OpenPrompt:
    """One line of the list."""

    category: str
    words: tuple[str, ...]
    parted: bool

    @property
    def text(self) -> str:
        """As a user types it."""
        return ("" if self.parted else " ").join(self.words)


@dataclass(frozen=True)
class OpenList:
    """Prompts, and for Japanese words what may stand in their place."""

    prompts: tuple[OpenPrompt, ...]
    translations: Mapping[str, tuple[str, ...]]

    @classmethod
    def load(cls, path: Path = REPORT) -> "OpenList":
        """Raises DataError where a line stands under no heading."""
        prompts, translations, category = [], {}, ""
        for line in filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())):
            if line.startswith("# "):
                continue
            if (
                line.startswith("[")
                and line.endswith("]")
                and line[1:-1].replace(" ", "").isalpha()
                and "|" not in line
            ):
                category = line[1:-1]
            elif category == "translations":
                word, _, told = line.partition(" = ")
                translations[word] = tuple(told.split(", "))
            elif category:
                prompts.append(_prompt(category, line))
            else:
                hint = "Begin the list with [category]."
                raise DataError(f"{str(path)!r}: {line!r} stands under no heading.", hint=hint)
        return cls(tuple(prompts), translations)


def _prompt(category: str, line: str) -> OpenPrompt:
    parted = category.startswith("ja ")
    return OpenPrompt(category, tuple(line.split("/") if parted else line.split()), parted)


@dataclass(frozen=True)
class Harm:
    """What became of one prompt."""

    prompt: OpenPrompt
    became: str
    confidence: float
    lost: int

    @cached_property
    def count(self) -> int:
        """Words that must be there."""
        return len(_telling(self.prompt))


def harm(
    some: OpenList, write: Callable[[str], RobustPrompt], render: Callable[[RobustPrompt], str]
) -> tuple[Harm, ...]:
    """Every prompt of the list read and put together again."""
    found = []
    for prompt in some.prompts:
        read = write(prompt.text)
        became = render(read)
        found.append(Harm(prompt, became, read.confidence, lost(prompt, became, some.translations)))
    return tuple(found)


def lost(prompt: OpenPrompt, became: str, translations: Mapping[str, Sequence[str]]) -> int:
    """Words of the prompt that do not stand in `became`, in the order in which they were typed."""
    words = _telling(prompt)
    reached: list[float] = [0]  # how far `became` is used up when as many words were found
    for word in words:
        allowed = (word, *translations.get(word.strip(","), ()))
        longer = [min(_end(became, each, start) for each in allowed) for start in reached]
        reached = [min(pair) for pair in zip([*reached, math.inf], [math.inf, *longer], strict=True)]
    kept = max(count for count, end in enumerate(reached) if end < math.inf)
    return len(words) - kept


def metrics(found: Sequence[Harm]) -> Metrics:
    """`harm.words`, `harm.sure`, the worst category, and each category."""
    result = Metrics()
    shares = {
        category: _share([each for each in found if each.prompt.category == category])
        for category in dict.fromkeys(each.prompt.category for each in found)
    }
    result.put("harm.words", _share(found))
    result.put("harm.sure", _share([each for each in found if each.confidence >= SURE]))
    result.put("harm.worst", max(shares.values()))
    result.put("harm.prompts", len(found))
    for category, share in shares.items():
        result.put(f"harm.{category.replace(' ', '_')}", share)
    return result


def _share(some: Sequence[Harm]) -> float:
    words = sum(each.count for each in some)
    return sum(each.lost for each in some) / words if words else 0.0


def _telling(prompt: OpenPrompt) -> tuple[str, ...]:
    return tuple(word for word in prompt.words if not prompt.parted or word not in _PARTICLES)


def _end(text: str, word: str, start: float) -> float:
    """Where `word` ends at its first place behind `start`; infinity where there is none. Latin words stand alone."""
    if start == math.inf:
        return math.inf
    at = text.find(word, int(start))
    while at >= 0:
        end = at + len(word)
        alone = not (_goes_on(text[at - 1 : at], word[0]) or _goes_on(word[-1], text[end : end + 1]))
        if alone:
            return end
        at = text.find(word, at + 1)
    return math.inf


def _goes_on(left: str, right: str) -> bool:
    return bool(left and right) and left.isascii() and right.isascii() and left.isalnum() and right.isalnum()

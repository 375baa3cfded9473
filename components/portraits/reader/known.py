"""Words that may be meant as they stand, by how often English and Japanese text uses them (wordfreq).

Evidence against a correction: whoever types a word that people use has seldom mistyped another one. The lists come with
the package (web, subtitles, books, news), so they hold names and the field's own words: `hatsune`, `hakama`, `bokeh`.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import get_args

from components.portraits.reader.characters import is_japanese, is_kana, kana
from components.prompting.vocabulary import Language

KNOWN = 2.5
"""Zipf frequency from which a word is known: 3 in ten million words. Common misspellings are rarer."""
UNLISTED = 0.0
_TOP = 9.0  # the lists begin at zipf 9 and fall by 0.01 a bin
_LONGEST = 10
_UNKNOWN = 12.0
_PENALTY = 1.5
"""What each word of a segmentation costs besides its rarity, so that whole words win over their parts."""


def zipf(word: str, language: Language = "en") -> float:
    """log10 of the uses in a billion words, 0 where the word is not listed; Japanese in levelled kana."""
    place = _places(language).get(word)
    return UNLISTED if place is None else _TOP - place / 100


def is_known(word: str) -> bool:
    """Whether an English word is common enough to be meant; a name with 's too."""
    return zipf(word) >= KNOWN or zipf(word.removesuffix("'s")) >= KNOWN


def load() -> None:
    """Read both lists now, about 90 MB of memory."""
    for language in get_args(Language):
        _places(language)


@lru_cache(maxsize=2)
def _places(language: Language) -> Mapping[str, int]:
    """Word -> its bin; a word that two spellings share has the more frequent one's."""
    from wordfreq import get_frequency_list

    bins = list(enumerate(get_frequency_list(language, "large")))
    if language == "en":
        return {word: place for place, words in bins for word in words}
    return {kana(word): place for place, words in reversed(bins) for word in words}


def segments(run: str, own: frozenset[str] = frozenset()) -> list[tuple[int, int]]:
    """A run of levelled Japanese cut into words: the cheapest path by frequency, [(start, end)].

    Args:
        run: no blanks.
        own: words that count as common whatever the lists say.
    """
    costs = [0.0]
    starts = [0]
    for end in range(1, len(run) + 1):
        options = [(costs[start] + _cost(run[start:end], own), start) for start in range(max(0, end - _LONGEST), end)]
        cost, start = min(options)
        costs.append(cost)
        starts.append(start)
    return list(reversed(_walk_back(starts)))


def _walk_back(starts: Sequence[int]) -> list[tuple[int, int]]:
    found = []
    end = len(starts) - 1
    while end > 0:
        found.append((starts[end], end))
        end = starts[end]
    return found


def _cost(word: str, own: frozenset[str]) -> float:
    frequency = max(zipf(word, "ja"), 5.0 if len(word) > 1 and word in own else UNLISTED)
    if frequency == UNLISTED:
        return _UNKNOWN if len(word) == 1 else _UNKNOWN * len(word)
    return _TOP - frequency + _PENALTY


def is_solid(word: str) -> bool:
    """Whether a Japanese segment says something by itself: a lone kana is a particle, or a piece of a mistake."""
    if len(word) == 1 and is_kana(word):
        return False
    return all(map(is_japanese, word)) and zipf(word, "ja") >= KNOWN

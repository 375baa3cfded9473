"""How far a typed word is from a known one: slips of the finger, slips of the ear, figures for letters.

A cost is about the number of edits. The edits are those of optimal string alignment (Damerau 1964), each weighted by
how easily it happens: neighbouring keys, swapped letters, doubled letters, vowels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import jellyfish
from rapidfuzz import process
from rapidfuzz.distance import OSA

from components.portraits.reader.known import UNLISTED, is_known, zipf
from components.portraits.reader.sound import consonants_agree, sounds_like

MAX_CANDIDATES = 14
_HOMOPHONE = 0.8
"""A word that people use, and that sounds like the one that the phrase needs."""
_RARE = 0.3
"""For each tenfold use of the typed word itself."""
_SHORT_WORD = 1.25
_FIRST_LETTER = 0.2
_SWAP, _NEIGHBOUR, _DOUBLED, _VOWEL, _FIGURE = 0.7, 0.7, 0.5, 0.8, 0.25
_SOUND, _RATING = 0.5, 0.8
_LEAST_SOUND = 0.5
_STEM, _LONG = 4, 6
"""Letters from which a word may hold two mistakes."""

_ROWS = ("1234567890-", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_ALIKE = "1i 1l !i |l |i 0o 3e 4a 5s 7t @a $s 8b 9g 6g 2z il uv iy"
_FIGURES = frozenset(frozenset(pair) for pair in _ALIKE.split())
_VOWELS = frozenset("aeiou")


def _neighbours() -> frozenset[tuple[str, str]]:
    """Keys that touch on a QWERTY keyboard: rows are shifted by half a key."""
    keys = {key: (x + 0.5 * y, y) for y, row in enumerate(_ROWS) for x, key in enumerate(row)}
    return frozenset(
        (a, b)
        for a, (ax, ay) in keys.items()
        for b, (bx, by) in keys.items()
        if a != b and abs(ax - bx) <= 1 and abs(ay - by) <= 1
    )


_NEAR = _neighbours()


@dataclass(frozen=True)
class Candidate:
    """A known word that was meant, perhaps."""

    word: str
    cost: float
    sounds: bool = False
    used: bool = False
    """The typed word is one that people use: it stays, whatever else was meant."""


def unknown_cost(length: int) -> float:
    """What it costs to leave a word of `length` letters unread: the longer, the more edits it is worth."""
    return min(0.6 + 0.29 * length, 4.0)


def edit_cost(typed: str, word: str) -> float:
    """Weighted optimal string alignment from `word` (meant) to `typed`."""
    older: list[float] = []
    row = [0.0]
    for j, meant in enumerate(word):
        row.append(row[-1] + (_FIRST_LETTER if j == 0 else 0.0) + _missing(word, j, meant))
    for i, mark in enumerate(typed):
        extra = _superfluous(typed, i, mark)
        current = [row[0] + extra + (_FIRST_LETTER if i == 0 else 0.0)]
        for j, meant in enumerate(word):
            first = _FIRST_LETTER if i == j == 0 else 0.0
            kept = 0.0 if mark == meant else _exchanged(mark, meant) + first
            best = min(row[j] + kept, row[j + 1] + extra, current[j] + _missing(word, j, meant))
            if i and j and mark == word[j - 1] and typed[i - 1] == meant:
                best = min(best, older[j - 1] + _SWAP)
            current.append(best)
        older, row = row, current
    return row[-1]


def _exchanged(mark: str, meant: str) -> float:
    if frozenset((mark, meant)) in _FIGURES:
        return _FIGURE
    if (mark, meant) in _NEAR:
        return _NEIGHBOUR
    return _VOWEL if mark in _VOWELS and meant in _VOWELS else 1.0


def _missing(word: str, at: int, meant: str) -> float:
    return _DOUBLED if at and word[at - 1] == meant else 1.0


def _superfluous(typed: str, at: int, mark: str) -> float:
    before = typed[at - 1] if at else ""
    after = typed[at + 1] if at + 1 < len(typed) else ""
    if mark in (before, after):
        return _DOUBLED
    return _VOWEL if (mark, before) in _NEAR or (mark, after) in _NEAR or not mark.isalnum() else 1.0


class Matcher:
    """Finds the known words that a typed word may stand for. Answers are kept: people repeat themselves.

    Args:
        words: what is known.
        small: those among them that no mistake is mended into, for they say nothing by themselves.
    """

    def __init__(self, words: Iterable[str], small: Iterable[str] = ()) -> None:
        self.words = frozenset(words)
        self._choices = sorted(word for word in self.words - frozenset(small) if len(word) > 2)
        self._sounds: dict[str, list[str]] = {}
        for word in self._choices:
            self._sounds.setdefault(jellyfish.metaphone(word), []).append(word)
        self.near = lru_cache(maxsize=16384)(self._near)

    def _near(self, typed: str) -> tuple[Candidate, ...]:
        """Candidates by cost: of a known word itself alone, of a word that people use what sounds the same."""
        if typed in self.words:
            return (Candidate(typed, 0.0),)
        if is_known(typed):
            alike = self._sounds.get(jellyfish.metaphone(typed), ())
            found = [Candidate(word, _HOMOPHONE, True, True) for word in alike if sounds_like(typed, word)]
        else:
            rarity = zipf(typed)
            close = (word for word in self._close(typed) if _is_slip(typed, word, rarity))
            found = [_weighed(typed, word, _RARE * rarity) for word in close]
        return tuple(sorted(found, key=lambda each: (each.cost, each.word))[:MAX_CANDIDATES])

    def _close(self, typed: str) -> list[str]:
        """Words within the edits that the length allows, or that sound the same."""
        limit = 2 if len(typed) >= _LONG - 1 else 1
        hits = process.extract(
            typed, self._choices, scorer=OSA.distance, processor=None, score_cutoff=limit, limit=5 * MAX_CANDIDATES
        )
        words = [str(hit[0]) for hit in hits]
        if _is_plain(typed):
            alike = self._sounds.get(jellyfish.metaphone(typed), ())
            words += [word for word in alike if len(word) > 2 and word not in words and OSA.distance(typed, word) <= 3]
        return words


def _is_plain(typed: str) -> bool:
    return len(typed) > 2 and typed.isascii() and typed.isalpha()


def _is_slip(typed: str, word: str, rarity: float) -> bool:
    """Whether so few edits lie between them that `word` was meant, and no word or name that we do not know."""
    edits = OSA.distance(typed, word)
    figures = sum(mark.isdecimal() for mark in typed)
    if figures:  # a count is no slip: `2girls`
        return edits <= figures and edit_cost(typed, word) <= _FIGURE * figures + _FIRST_LETTER
    alike = _is_plain(typed) and consonants_agree(typed, word)
    if rarity == UNLISTED and len(word) >= _STEM and typed.startswith(word) and len(typed) - len(word) <= 2:
        return True  # an ending too many, or a letter held down
    if rarity > UNLISTED:
        return edits == 1 or (edits == 2 and alike and min(len(typed), len(word)) >= _LONG)
    if min(len(typed), len(word)) >= _LONG:
        return edits <= 2 or alike
    return edits == 1 or (edits == 2 and alike and sounds_like(typed, word))


def _weighed(typed: str, word: str, penalty: float) -> Candidate:
    cost = edit_cost(typed, word) * (_SHORT_WORD if len(word) <= 3 else 1.0)
    sounds = False
    if cost > _LEAST_SOUND and _is_plain(typed) and len(word) > 2:
        if consonants_agree(typed, word):
            sounds = cost >= _VOWEL and sorted(typed) != sorted(word)
            cost = max(cost * _SOUND, _LEAST_SOUND)
        elif jellyfish.match_rating_comparison(typed, word):
            cost = max(cost * _RATING, _LEAST_SOUND)
    return Candidate(word, cost + penalty, sounds)

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

MAX_CANDIDATES = 14
REAL_WORD = 0.4
"""A known word is seldom a slip for another known word."""
_SHORT_WORD = 1.25
_FIRST_LETTER = 0.2
_SWAP, _NEIGHBOUR, _DOUBLED, _VOWEL, _FIGURE = 0.7, 0.7, 0.5, 0.8, 0.25
_SOUND, _RATING = 0.5, 0.8
_LEAST_SOUND = 0.5

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
    if (mark, meant) in _NEAR:
        return _NEIGHBOUR
    if frozenset((mark, meant)) in _FIGURES:
        return _FIGURE
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
    """Finds the known words that a typed word may stand for. Answers are kept: people repeat themselves."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = frozenset(words)
        self._choices = sorted(self.words)
        self._sounds: dict[str, list[str]] = {}
        for word in self._choices:
            self._sounds.setdefault(jellyfish.metaphone(word), []).append(word)
        self.near = lru_cache(maxsize=16384)(self._near)

    def _near(self, typed: str) -> tuple[Candidate, ...]:
        """Candidates by cost; an exact one comes first, at no cost."""
        exact = typed in self.words
        found = {typed: Candidate(typed, 0.0)} if exact else {}
        for word in self._close(typed):
            if word != typed:
                candidate = _weighed(typed, word, REAL_WORD if exact else 0.0)
                if candidate.cost <= unknown_cost(len(word)) + 0.5:
                    found[word] = candidate
        return tuple(sorted(found.values(), key=lambda each: (each.cost, each.word))[:MAX_CANDIDATES])

    def _close(self, typed: str) -> list[str]:
        """Words within the edits that the length allows, or that sound the same."""
        limit = 1 if len(typed) <= 2 else 2 if len(typed) <= 5 else 3
        hits = process.extract(
            typed, self._choices, scorer=OSA.distance, processor=None, score_cutoff=limit, limit=5 * MAX_CANDIDATES
        )
        words = [str(hit[0]) for hit in hits]
        if len(typed) > 2 and typed.isascii() and typed.isalpha():
            alike = self._sounds.get(jellyfish.metaphone(typed), ())
            words += [word for word in alike if len(word) > 2 and word not in words and OSA.distance(typed, word) <= 3]
        return words


def _weighed(typed: str, word: str, penalty: float) -> Candidate:
    cost = edit_cost(typed, word) * (_SHORT_WORD if len(word) <= 3 else 1.0)
    sounds = False
    if cost > _LEAST_SOUND and len(typed) > 2 and len(word) > 2 and typed.isascii() and typed.isalpha():
        if jellyfish.metaphone(typed) == jellyfish.metaphone(word):
            sounds = cost >= _VOWEL and sorted(typed) != sorted(word)
            cost = max(cost * _SOUND, _LEAST_SOUND)
        elif jellyfish.match_rating_comparison(typed, word):
            cost = max(cost * _RATING, _LEAST_SOUND)
    return Candidate(word, cost + penalty, sounds)

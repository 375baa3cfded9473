"""Every word that a request may hold, at its place: as typed, with mistakes, cut in two, or joined from two."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from components.portraits.reader.characters import Text, is_japanese, is_kana, kana
from components.portraits.reader.japanese import Entry, Found, dictionary
from components.portraits.reader.known import UNLISTED, is_known, is_solid, segments, zipf
from components.portraits.reader.matching import Candidate, Matcher, unknown_cost
from components.portraits.reader.phrases import Phrases
from components.portraits.reader.romaji import PARTICLES, to_kana
from components.portraits.vocabulary import ATTRIBUTES, words

MAX_FUZZY, MAX_FUZZY_KANA = 60, 100
"""Unknown words, and Japanese characters, of one request that are searched for mistakes: bounds the time."""
_MARK, _JAPANESE_BLANK = 0.5, 0.3
_JOIN, _CUT, _MOVED, _ROMAJI = 0.5, 0.55, 0.8, 0.2
_SHORTEST_ROMAJI = 4
_UNKNOWN_KANA, _UNKNOWN_KANJI, _LEAST_UNKNOWN = 0.75, 1.0, 0.6
_WALLS = frozenset(",.;!?\n、。！？，[]{}|<>/")
"""Marks that no phrase goes beyond."""
_CALL = re.compile(r"<[^<>\n]*>|__[\w/*-]+__|\bbreak\b")
"""What other programs read as a command: `<lora:x:0.8>`, `__wildcard__`, BREAK."""
_WORD = re.compile(r"[^\W_]+(?:[@$!|'’]+[^\W_]+)*|[@$][^\W_]+(?:[@$!|'’]+[^\W_]+)*")


@dataclass(frozen=True)
class Edge:
    """A stretch of the request read as known words; no words: a Japanese particle."""

    start: int
    end: int
    words: tuple[str, ...]
    cost: float
    why: str = ""
    japanese: bool = False
    used: bool = False
    """What was typed is a word that people use: it stays, and what was meant is told beside it."""


class Lattice:
    """The edges of one request."""

    def __init__(self, text: Text, matcher: Matcher, phrases: Phrases) -> None:
        self.text, self.keys = text, text.keys
        self.matcher, self.phrases = matcher, phrases
        self._budget = MAX_FUZZY
        self.edges: dict[int, list[Edge]] = {}
        self.blanks: dict[int, tuple[int, float]] = {}
        self._skips: dict[int, tuple[int, float]] = {}
        self._latin()
        self._japanese()
        self.exact = {at: [edge for edge in edges if not edge.cost] for at, edges in self.edges.items()}

    def skip(self, at: int) -> tuple[int, float]:
        """The next place where something starts, and what it costs a phrase to go on there (inf: it ends before)."""
        if at in self._skips:
            return self._skips[at]
        start, cost = at, 0.0
        while at < len(self.keys) and at not in self.edges and at not in self.blanks:
            mark = self.keys[at]
            if mark == " " and at and is_japanese(self.keys[at - 1]):
                cost = max(cost, _JAPANESE_BLANK)
            if mark in _WALLS:
                cost = math.inf
            elif not mark.isspace() and mark not in "-'()*_~\"·・:":
                cost = max(cost, _MARK)
            at += 1
        self._skips[start] = at, cost
        return at, cost

    def blank(self, at: int) -> tuple[int, float]:
        """Where the stretch at `at` ends that is left unread as a whole, and its cost."""
        return self.blanks.get(at, (at + 1, 0.0))

    def _add(self, edge: Edge) -> None:
        self.edges.setdefault(edge.start, []).append(edge)

    def _latin(self) -> None:
        calls = [found.span() for found in _CALL.finditer(self.keys)]
        spans = [
            span
            for found in _WORD.finditer(self.keys)
            if not any(start < found.end() and found.start() < end for start, end in calls)
            for span in self._runs(*found.span())
        ]
        for start, end in calls:
            self.blanks[start] = (end, _LEAST_UNKNOWN)
        for start, end in spans:
            self._whole(start, end)
            self.blanks[start] = (end, unknown_cost(end - start))
        self._romaji(spans)
        for (start, middle), (after, end) in pairwise(spans):
            if after - middle == 1 and self.keys[middle] in " -":
                self._joined(start, middle, after, end)

    def _runs(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of a word that are not Japanese."""
        begin = start
        for at in range(start, end + 1):
            if at == end or is_japanese(self.keys[at]):
                if at > begin:
                    yield begin, at
                begin = at + 1

    def _whole(self, start: int, end: int) -> None:
        """The word as it stands; if nobody uses it, with mistakes, and cut where a blank may be missing."""
        typed = self.keys[start:end]
        best: dict[str, Candidate] = {}
        for spelling in self.text.spellings(start, end):
            for candidate in self._near(spelling):
                if candidate.word not in best or candidate.cost < best[candidate.word].cost:
                    best[candidate.word] = candidate
        if is_known(typed) and typed not in self.matcher.words:
            self._add(Edge(start, end, (typed,), 0.0))
        for candidate in best.values():
            why = "" if not candidate.cost else "sound" if candidate.sounds else "typo"
            self._add(Edge(start, end, (candidate.word,), candidate.cost, why, used=candidate.used))
        if typed not in self.matcher.words and 4 <= end - start <= 40 and zipf(typed) == UNLISTED:
            self._cut(start, end, 3)

    def _romaji(self, spans: Sequence[tuple[int, int]]) -> None:
        """Japanese in Latin letters: words that are none in English, what stands beside them, and their particles."""
        typed = [self.keys[start:end] for start, end in spans]
        sure = {at for at, word in enumerate(typed) if not self._is_used(word) and _from_romaji(word)}
        for at, (start, end) in enumerate(spans):
            if typed[at] in PARTICLES and at - 1 in sure:
                self._add(Edge(start, end, (), 0.0, "translation", used=True))
            elif at in sure or {at - 2, at - 1, at + 1} & sure:
                for entry in _from_romaji(typed[at]):
                    self._add(Edge(start, end, entry.english, _ROMAJI, "translation", used=True))

    def _near(self, spelling: str) -> Sequence[Candidate]:
        """Candidates for a word, as long as the request's time lasts."""
        if spelling in self.matcher.words:
            return self.matcher.near(spelling)
        if spelling.isdecimal() or not 2 < len(spelling) <= 24 or self._budget <= 0:
            return ()
        self._budget -= 1
        return self.matcher.near(spelling)

    def _cut(self, start: int, end: int, depth: int) -> None:
        """`redhair`: known words without a blank between them, the last or the first perhaps misspelled."""
        word = self.keys[start:end]
        for at in range(1, len(word) - 1):
            left, right = word[:at], word[at:]
            if left not in self.matcher.words or (at < 3 and left not in self.phrases.fillers):
                if at >= 3 and len(right) >= 4 and right in self.phrases.vocabulary:
                    self._part(start, start + at, False)
                    self._part(start + at, end, True)
                continue
            if right in self.matcher.words:
                self._part(start, start + at, True)
                self._part(start + at, end, True)
            elif len(right) >= 3 and at >= 3:
                self._part(start, start + at, True)
                self._part(start + at, end, False)
                if depth > 1 and len(right) >= 4:
                    self._cut(start + at, end, depth - 1)

    def _part(self, start: int, end: int, exact: bool) -> None:
        spelling = self.keys[start:end]
        candidates = (Candidate(spelling, 0.0),) if exact else self._near(spelling)
        for candidate in candidates:
            edge = Edge(start, end, (candidate.word,), candidate.cost + _CUT, "typo")
            if edge not in self.edges.get(start, ()):
                self._add(edge)

    def _joined(self, start: int, middle: int, after: int, end: int) -> None:
        """`re d`: one word with a blank in it, wholly right or (when nobody uses its parts) with a mistake."""
        left, right = self.keys[start:middle], self.keys[after:end]
        whole, strange = left + right, not (self._is_used(left) or self._is_used(right))
        if whole in self.matcher.words:
            self._add(Edge(start, end, (whole,), _JOIN, "typo", used=self._is_used(left) and self._is_used(right)))
        elif strange and 3 < len(whole) <= 16:
            for candidate in self._near(whole)[:3]:
                self._add(Edge(start, end, (candidate.word,), candidate.cost + _JOIN, "typo", used=candidate.used))
        if strange or (left not in self.matcher.words and not self._is_used(right)):
            self._moved(start, middle, after, end)

    def _is_used(self, word: str) -> bool:
        return word in self.matcher.words or is_known(word)

    def _moved(self, start: int, middle: int, after: int, end: int) -> None:
        """`pin khair`: the blank stands one letter off."""
        left, right = self.keys[start:middle], self.keys[after:end]
        for one, two in ((left + right[:1], right[1:]), (left[:-1], left[-1:] + right)):
            if one in self.matcher.words and two in self.matcher.words:
                self._add(Edge(start, end, (one, two), _MOVED, "typo"))

    def _japanese(self) -> None:
        marks = [at for at, mark in enumerate(self.keys) if is_japanese(mark)]
        run, places = _compact(self.keys, marks)
        cuts = _Cuts(run)
        for i, at in enumerate(places):
            if at < 0:
                continue
            for each in self._entries(run, i, cuts):
                self._add_entry(run, i, places[i : i + each.length], each, cuts)
            if is_japanese(self.keys[at]):
                self.blanks[at] = (at + 1, _UNKNOWN_KANA if is_kana(self.keys[at]) else _UNKNOWN_KANJI)

    def _entries(self, run: str, i: int, cuts: "_Cuts") -> Iterator[Found]:
        """Entries at `run[i:]`: whole words of the request, or mistakes where no word is."""
        book = dictionary()
        yield from (each for each in book.exact(run, i) if cuts.whole(i, i + each.length))
        if i < MAX_FUZZY_KANA:
            yield from (each for each in book.damaged(run, i) if cuts.broken(i, i + each.length))
            yield from (each for each in book.misread(run, i) if not cuts.one(i, i + each.length))

    def _add_entry(self, run: str, i: int, stretch: Sequence[int], each: Found, cuts: "_Cuts") -> None:
        if -1 in stretch or not any(is_japanese(self.keys[place]) for place in stretch):
            return
        start, end = stretch[0], stretch[-1] + 1
        gaps = end - start - each.length
        why = each.entry.why or ("typo" if each.cost or gaps else "")
        used = bool(each.cost) and cuts.used(i, i + each.length)
        self._add(Edge(start, end, each.entry.english, each.cost + _JOIN * bool(gaps), why, True, used))


class _Cuts:
    """Where the words of a Japanese run begin and end, and which of them people use."""

    def __init__(self, run: str) -> None:
        words = segments(run, dictionary().words)
        self.words = frozenset(words)
        self.places = {0, *(end for _, end in words)}
        for start, end in words:
            self.places.update(start + at for at in _joints(run[start:end]))
        self.solid = {at for start, end in words if is_solid(run[start:end]) for at in range(start, end)}

    def one(self, start: int, end: int) -> bool:
        """Whether `start:end` is one word, and no more."""
        return (start, end) in self.words

    def whole(self, start: int, end: int) -> bool:
        """Whether `start:end` is a word, or several."""
        return start in self.places and end in self.places

    def broken(self, start: int, end: int) -> bool:
        """Whether a part of `start:end` belongs to no word that says something."""
        return any(at not in self.solid for at in range(start, end))

    def used(self, start: int, end: int) -> bool:
        """Whether all of `start:end` does."""
        return not self.broken(start, end)


def _joints(word: str) -> Sequence[int]:
    """Where a word of the vocabulary is put together from entries, 左向き from 左 and 向き; nowhere in others."""
    known = dictionary().words
    ends: dict[int, tuple[int, ...]] = {0: ()}
    for end in range(1, len(word) + 1 if word in _vocabulary() else 0):
        for start in range(end):
            if start in ends and word[start:end] in known and end not in ends:
                ends[end] = (*ends[start], end)
    return ends.get(len(word), ())


def _from_romaji(word: str) -> Sequence[Entry]:
    """What a word in Latin letters says in Japanese; nothing where it is short, for then it may be anything."""
    kana_of_it = to_kana(word) if len(word) >= _SHORTEST_ROMAJI else ""
    book = dictionary()
    entries = book.entries.get(kana_of_it) or book.stretched(kana_of_it) or book.joined(kana_of_it)
    return [entry for entry in entries if entry.english and not entry.why]


@lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    """The vocabulary's Japanese words, levelled."""
    told = [words(attribute, value, "ja") for attribute, values in ATTRIBUTES.items() for value in values]
    return frozenset(kana(word) for some in told for word in some)


def _compact(keys: str, marks: Sequence[int]) -> tuple[str, list[int]]:
    """The Japanese characters, and single Latin letters among them (Tシャツ), without the blanks between them."""
    run: list[str] = []
    places: list[int] = []
    last = -9
    for at in marks:
        if at > last + 1 and not (at == last + 2 and keys[last + 1] == " "):
            run.append("\0")
            places.append(-1)
        if at and keys[at - 1] == "t" and at - 1 != last:
            run.append("t")
            places.append(at - 1)
        run.append(keys[at])
        places.append(at)
        last = at
    return "".join(run), places

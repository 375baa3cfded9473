"""A request cut into phrases: a shortest path over its characters (Viterbi), where context decides what a word meant.

Every edge is a known word with the cost of its mistakes; a phrase is a run of edges that the tree of phrases knows.
What no phrase wants is a filler, an open word, or unknown, and an unknown word costs the more the longer it is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from components.portraits.reader.characters import is_kana
from components.portraits.reader.known import UNLISTED, zipf
from components.portraits.reader.lattice import Edge, Lattice
from components.portraits.reader.phrases import NOT, Node, Phrase

Kind = Literal["phrase", "filler", "open", "orphan", "not", "unknown"]

MAX_STEPS = 1000
"""Steps through the tree of phrases; a request of a page is then read by its rightly spelled words alone."""
_PHRASE, _FILLER, _OPEN, _ORPHAN = 0.1, 0.05, 0.6, 1.1
_NOT, _NASHI, _KANA = 1.0, 0.3, 0.3
_LINK, _GUEST = 0.1, 0.4
_LONE, _LONE_LEAST = 1.2, 0.9
"""A word that nothing around it confirms needs to be spelled better."""
_ALONE, _ALONE_RARE = 5, 6
"""Letters from which a word that nothing around it confirms is mended; more of one that is used at times."""
_DEEPEST = 9
_NEGATIONS = frozenset({"no", "without", "not", "never"})
_PARTICLES = frozenset("のがはをにでとも")
_NOTHING = Phrase()


@dataclass(frozen=True)
class Piece:
    """A step of the path: what `start:end` is taken for."""

    start: int
    end: int
    kind: Kind
    cost: float
    edges: tuple[Edge, ...] = ()
    phrase: Phrase = _NOTHING
    blank: float = 0.0


@dataclass(frozen=True)
class Cut:
    """The cheapest path, and every phrase that was weighed with the cost of the cheapest path through it."""

    pieces: Sequence[Piece]
    rivals: Sequence[tuple[float, Piece]]
    cost: float


class Segmentation:
    """The shortest path through a lattice."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.phrases = lattice.phrases
        self._steps = 0
        self._worths: dict[tuple[int, int], float] = {}

    def cut(self) -> Cut:
        """The cheapest way to read all of the request."""
        size = len(self.lattice.keys)
        first, _ = self.lattice.skip(0)
        ahead = {first: 0.0}
        came: dict[int, Piece] = {}
        steps: list[tuple[Piece, int]] = []
        for at in range(first, size):
            if at not in ahead:
                continue
            for piece in self._pieces(at):
                next_at, _ = self.lattice.skip(piece.end)
                steps.append((piece, next_at))
                cost = ahead[at] + piece.cost
                if cost < ahead.get(next_at, math.inf) - 1e-9:
                    ahead[next_at] = cost
                    came[next_at] = piece
        if size not in ahead:
            return Cut((), (), 0.0)
        back = {size: 0.0}
        for piece, next_at in sorted(steps, key=lambda step: -step[0].start):
            if next_at in back:
                back[piece.start] = min(back.get(piece.start, math.inf), piece.cost + back[next_at])
        rivals = [
            (ahead[piece.start] + piece.cost + back[next_at], piece)
            for piece, next_at in steps
            if piece.phrase.pairs and next_at in back
        ]
        return Cut(self._path(came, size), rivals, ahead[size])

    def _path(self, came: dict[int, Piece], at: int) -> list[Piece]:
        path: list[Piece] = []
        while at in came:
            path.append(came[at])
            at = came[at].start
        return path[::-1]

    def _pieces(self, at: int) -> Iterator[Piece]:
        yield from self._phrases(at)
        for edge in self._edges(at) if self._steps <= MAX_STEPS else self.lattice.exact.get(at, ()):
            yield from self._alone(edge)
        if at in self.lattice.blanks:
            end, cost = self.lattice.blank(at)
            yield Piece(at, end, "unknown", cost)

    def _alone(self, edge: Edge) -> Iterator[Piece]:
        """A word outside of all phrases, which stays as it is: nothing is mended there."""
        known = self.phrases
        if edge.cost:
            return
        if all(word in known.fillers for word in edge.words):
            yield Piece(edge.start, edge.end, "filler", self._filler(edge), (edge,))
        elif edge.words[0] in _NEGATIONS or edge.words == (NOT,):
            yield Piece(edge.start, edge.end, "not", _NASHI if edge.japanese else _NOT, (edge,))
        elif self._is_open(edge.words):
            yield Piece(edge.start, edge.end, "open", _OPEN, (edge,))
        else:
            yield Piece(edge.start, edge.end, "orphan", _ORPHAN * len(edge.words), (edge,))

    def _is_open(self, words: Sequence[str]) -> bool:
        """Whether no phrase knows any of the words, so that they are tags of their own."""
        return bool(words) and not any(
            word in self.phrases.vocabulary or word in self.phrases.fillers for word in words
        )

    def _filler(self, edge: Edge) -> float:
        """A lone kana is a particle, or the rest of a word that was not understood."""
        rest = edge.japanese and edge.end - edge.start == 1 and self.lattice.keys[edge.start] not in _PARTICLES
        return _KANA if rest else _FILLER

    def _edges(self, at: int) -> Sequence[Edge]:
        return self.lattice.edges.get(at, ())

    def _phrases(self, at: int) -> Iterator[Piece]:
        """Every phrase that starts here and is cheaper than to leave its words unread."""
        stack: list[tuple[int, Node, float, float, tuple[Edge, ...], int]] = [(at, self.phrases.root, 0.0, 0.0, (), 0)]
        seen: dict[tuple[int, int, int], float] = {}
        while stack:
            here, node, cost, blank, used, guests = stack.pop()
            state = (here, id(node), guests)
            if seen.get(state, math.inf) <= cost:
                continue
            seen[state] = cost
            self._steps += 1
            hurried = self._steps > MAX_STEPS
            for edge in self.lattice.exact.get(here, ()) if hurried else self._edges(here):
                step, worth = cost + edge.cost, blank + self._worth(edge)
                if step > worth + 0.2:
                    continue
                child = _walk(node, edge.words)
                next_at, gap = self.lattice.skip(edge.end)
                if child is not None and edge.words:
                    for phrase in child.phrases if self._is_sure((*used, edge)) else ():
                        total = step + phrase.prior + _PHRASE
                        if not used and edge.cost > _LONE_LEAST:
                            total += (_LONE - 1) * edge.cost
                        yield Piece(at, edge.end, "phrase", total, (*used, edge), phrase, worth)
                    if child.children and len(used) < _DEEPEST and gap < math.inf:
                        stack.append((next_at, child, step + gap, worth, (*used, edge), guests))
                elif used and gap < math.inf and self._links(edge) and len(used) < _DEEPEST:
                    stack.append((next_at, node, step + gap + _LINK, worth, (*used, edge), guests))
            if used and not guests and not hurried and (guest := self._guest(here)):
                next_at, gap = self.lattice.skip(guest.end)
                worth = blank + self.lattice.blank(here)[1]
                if gap < math.inf:
                    stack.append((next_at, node, cost + guest.cost + gap, worth, (*used, guest), 1))

    def _links(self, edge: Edge) -> bool:
        return not edge.cost and all(word in self.phrases.links for word in edge.words)

    def _is_sure(self, edges: Sequence[Edge]) -> bool:
        """Whether mended words have what confirms them: a word of the phrase that is spelled right, or their length."""
        mended = [edge for edge in edges if edge.cost and edge.why not in ("guest", "translation")]
        exact = [edge for edge in edges if not edge.cost and edge.words and edge.why != "guest"]
        telling = any(word not in self.phrases.fillers for edge in exact for word in edge.words)
        if not mended or telling:
            return sum(edge.used for edge in mended) <= 1
        if any(edge.used and not edge.japanese for edge in mended):
            return False
        return len(mended) > 1 or len(exact) > 1 or mended[0].japanese or self._stands_alone(mended[0])

    def _stands_alone(self, edge: Edge) -> bool:
        typed = self.lattice.keys[edge.start : edge.end]
        return len(typed) >= (_ALONE if zipf(typed) == UNLISTED else _ALONE_RARE)

    def _guest(self, at: int) -> Edge | None:
        """A word inside a phrase that is none of its words: long *wavy* pink hair; or a kana too many."""
        if at not in self.lattice.blanks:
            return None
        end, price = self.lattice.blank(at)
        texture = self.lattice.keys[at:end] in self.phrases.guests
        if not texture and not is_kana(self.lattice.keys[at]):
            return None
        return Edge(at, end, (), (min(price, _OPEN) if texture else price) + _GUEST, "guest")

    def _worth(self, edge: Edge) -> float:
        """What it would cost to leave the edge's characters unread."""
        span = (edge.start, edge.end)
        if span in self._worths:
            return self._worths[span]
        at, cost = edge.start, 0.0
        while at < edge.end:
            if at in self.lattice.blanks:
                end, price = self.lattice.blanks[at]
                cost += price
                at = max(end, at + 1)
            else:
                at += 1
                cost += 0.3
        self._worths[span] = cost
        return cost


def _walk(node: Node, words: Sequence[str]) -> Node | None:
    for word in words:
        child = node.children.get(word)
        if child is None:
            return None
        node = child
    return node

"""The request again, word for word and in its order, with what was understood where it stands.

English stays as it was typed. A slip is mended; where a word that people use was taken for another, or a phrase holds
words that the vocabulary has not, the vocabulary's own word is put behind. Japanese is told in the vocabulary's words
as far as it was understood; of the rest nothing is lost.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from components.portraits.reader.characters import Text, hiragana, is_japanese
from components.portraits.reader.japanese import dictionary
from components.portraits.reader.lattice import Edge
from components.portraits.reader.phrases import NOT, phrases
from components.portraits.reader.segmentation import Piece
from components.portraits.vocabulary import ATTRIBUTES, words
from components.prompting.schema import Layer, Part

_BETWEEN = re.compile(r"(\S*?)[\s、。，,・]*([^\s、。，,・)\]}>]*)\Z")
_TAG_END = re.compile(r"[,;\n]|\.(?=\s|\Z)")
_CASES = frozenset("のがはをにともへや")
"""Particles that say how two words belong together; others may be the end of a verb."""
_SHORTEST_STEM = 3
_UNSEEN = re.compile("[\u00ad\u200b\u200c\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]|\u200d(?=[a-zA-Z])")


@dataclass(frozen=True)
class _Token:
    """A piece of the request: Latin letters, Japanese as typed, Japanese told in English, or a particle."""

    start: int
    end: int
    kind: Literal["latin", "said", "told", "glue"]
    text: str
    layer: Layer
    typed: str = ""
    beside: tuple[str, ...] = ()


def laid_out(text: Text, pieces: Sequence[Piece]) -> tuple[Part, ...]:
    """The parts of the prompt; joined they are the whole request."""
    parts: list[Part] = []
    waiting: list[str] = []
    gap, end = "", 0
    before: _Token | None = None
    for token in _with_particles(_whole([_token(text, piece) for piece in pieces])):
        gap, end = gap + _seen(text.typed(end, token.start)), token.end
        if token.kind == "glue":
            continue
        apart = before is not None and "told" in (before.kind, token.kind)
        parts += [*_between(_separated(gap) if apart else gap, waiting), Part(text=token.text, layer=token.layer)]
        waiting += token.beside
        gap, before = "", token
    gap += _seen(text.typed(end, len(text.keys)))
    parts += _between(gap, waiting) if _TAG_END.search(gap) else [Part(text=gap), *_told_beside(waiting)]
    return tuple(part for part in parts if part.text)


def _between(gap: str, waiting: list[str]) -> list[Part]:
    """What stands between two words; where a tag ends, what is told beside it comes before the comma."""
    found = _TAG_END.search(gap)
    if not waiting or found is None:
        return [Part(text=gap)]
    told = _told_beside(waiting)
    waiting.clear()
    return [Part(text=gap[: found.start()]), *told, Part(text=gap[found.start() :])]


def _told_beside(names: Sequence[str]) -> list[Part]:
    return [part for name in dict.fromkeys(names) for part in (Part(text=", "), Part(text=name, layer="attributes"))]


def _seen(text: str) -> str:
    """Without marks that nobody sees."""
    return _UNSEEN.sub("", text)


def _separated(gap: str) -> str:
    """A comma instead of Japanese punctuation or of nothing; brackets stay on their side."""
    closing, opening = "", gap
    if found := _BETWEEN.match(gap):
        closing, opening = found.groups()
    return f"{closing}, {opening}"


def _token(text: Text, piece: Piece) -> _Token:
    if not is_japanese(text.keys[piece.start]):
        said = _latin(text, piece)
        return _Token(piece.start, piece.end, "latin", said, _layer(piece), beside=_beside(piece, said))
    said = _seen(text.typed(piece.start, piece.end))
    if piece.kind != "orphan" and (told := _told(piece)):
        kept = f"{said}, {told}" if any(edge.used for edge in piece.edges) else told
        return _Token(piece.start, piece.end, "told", kept, _layer(piece), said)
    bare = piece.kind in ("filler", "not") and all(not edge.words or edge.words == (NOT,) for edge in piece.edges)
    particle = bare and hiragana(said.strip()) in dictionary().spellings  # 二 is no に
    return _Token(piece.start, piece.end, "glue" if particle else "said", said, "extra")


def _layer(piece: Piece) -> Layer:
    if piece.phrase.pairs:
        return "attributes"
    return "subject" if piece.phrase.subject else "quality" if piece.phrase.quality else "extra"


def _whole(tokens: Sequence[_Token]) -> list[_Token]:
    """A word that is part of a longer one is not told by itself: メイド服, 女騎士, 赤い瞳 stay whole."""
    found, count = list(tokens), len(tokens)
    neighbours = [(at, at - 1) for at in range(1, count)] + [(at, at + 1) for at in reversed(range(count - 1))]
    for at, beside in neighbours:
        token, other = found[at], found[beside]
        touching = token.start == other.end or token.end == other.start
        if touching and other.kind == "said" and token.kind == "told" and token.layer in ("extra", "subject"):
            found[at] = replace(token, kind="said", text=token.typed, layer="extra")
    return found


def _with_particles(tokens: Sequence[_Token]) -> Iterator[_Token]:
    """Particles between words that were not understood stay with them; around what was told they are glue, and go."""
    for is_glue, group in itertools.groupby(tokens, key=lambda token: token.kind == "glue"):
        run = list(group)
        before = _neighbour(tokens, tokens.index(run[0]) - 1)
        after = _neighbour(tokens, tokens.index(run[-1]) + 1)
        inflected = before == "said" and (len(run) > 1 or run[0].text not in _CASES)
        if is_glue and (inflected or "told" not in (before, after)):
            run = [replace(token, kind="said") for token in run]
        yield from run


def _neighbour(tokens: Sequence[_Token], at: int) -> str:
    return tokens[at].kind if 0 <= at < len(tokens) else ""


def _told(piece: Piece) -> str:
    """A Japanese phrase in English: in its own words where the vocabulary has not all of them, and in those it has."""
    own = " ".join(word for edge in piece.edges for word in edge.words if word != NOT)
    if any(own in words(*pair) for pair in piece.phrase.pairs):
        return own
    names = _names(piece)
    return ", ".join(dict.fromkeys([own, *names])) if not names or _is_foreign(piece) else ", ".join(names)


def _latin(text: Text, piece: Piece) -> str:
    written, at = [], piece.start
    for edge in piece.edges:
        missing = " " if at == edge.start > piece.start else ""
        written += [missing or _seen(text.typed(at, edge.start)), _mended(text, edge)]
        at = edge.end
    written.append(_seen(text.typed(at, piece.end)) if at < piece.end else "")
    return "".join(written)


def _beside(piece: Piece, said: str) -> tuple[str, ...]:
    """The vocabulary's own words for a phrase that has others."""
    plain = said.lower().replace("-", " ")
    names = _names(piece) if _is_foreign(piece) else []
    return tuple(name for name in names if name.replace("-", " ") not in plain)


def _mended(text: Text, edge: Edge) -> str:
    """A slip as the word that was meant; a rightly spelled word in its own letters."""
    said = _seen(text.typed(edge.start, edge.end))
    if edge.why == "guest" or edge.used:
        return said
    trail = said[len(said.rstrip()) :]
    if edge.cost:
        return " ".join(edge.words) + trail
    letters = unicodedata.normalize("NFKD", said)
    accented = not phrases().vocabulary.issuperset(edge.words) and all(_is_latin(mark) for mark in letters)
    return said if said.isascii() or accented else " ".join(edge.words) + trail


def _is_latin(mark: str) -> bool:
    """Latin letters keep their accents (`café`); a letter of another script stands for one that looks like it."""
    return mark.isascii() or unicodedata.combining(mark) > 0 or "LATIN" in unicodedata.name(mark, "")


def _names(piece: Piece) -> list[str]:
    """The vocabulary's own words for a phrase, and its garment."""
    phrase = piece.phrase
    found = [_general(pair) if phrase.extra else words(*pair)[0] for pair in phrase.pairs]
    return [*found, *(each for each in (phrase.subject, phrase.quality, phrase.extra) if each)]


def _general(pair: tuple[str, str]) -> str:
    """Of a dress or a kimono: clothes of its colour, for it is no shirt."""
    return next((word for word in words(*pair) if "clothes" in word), words(*pair)[0])


def _is_foreign(piece: Piece) -> bool:
    """Whether an attribute is told in words that the vocabulary has not, such as `crimson` or `ponytail`."""
    if not piece.phrase.pairs:
        return False
    if any(edge.used for edge in piece.edges):
        return True
    told = [word for edge in piece.edges for word in edge.words if word not in phrases().fillers]
    return not all(word.startswith(_stems()) or any(stem.startswith(word) for stem in _stems()) for word in told)


@lru_cache(maxsize=1)
def _stems() -> tuple[str, ...]:
    """The vocabulary's English words, whose other forms (`haired`, `laughs`) are no strangers to it."""
    every = {
        each.lower()
        for attribute, values in ATTRIBUTES.items()
        for value in values
        for word in words(attribute, value)
        for each in re.findall(r"[A-Za-z]+", word)
    }
    return tuple(sorted(word for word in every if len(word) >= _SHORTEST_STEM))

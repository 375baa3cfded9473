"""The client that needs no model: reads a request by dictionary, edit costs and a shortest path.

It answers in milliseconds, always the same, and invents nothing; so it is also what the generator falls back on.
"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

import ftfy

from components.portraits.reader.characters import Text, hiragana, is_japanese, is_width, level
from components.portraits.reader.japanese import dictionary
from components.portraits.reader.known import UNLISTED, load, zipf
from components.portraits.reader.lattice import Edge, Lattice
from components.portraits.reader.layout import laid_out
from components.portraits.reader.matching import Matcher
from components.portraits.reader.phrases import phrases
from components.portraits.reader.segmentation import Cut, Piece, Segmentation
from components.portraits.vocabulary import words
from components.prompting.schema import MAX_EXTRA, Correction, Draft, PromptRequest, Reading, plain
from components.prompting.vocabulary import Language

_FIXES = ftfy.TextFixerConfig(
    unescape_html=True, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False, normalization=None
)
"""Entities (`&amp;`) and letters in the wrong encoding; all else is levelled for matching alone, and stays."""
_SURE = 0.99
_SHARPNESS = 2.5
"""How fast the probability falls with the margin in edits."""
_CONTRADICTED, _CLEARLY = 0.6, 0.15
_MENTIONS = 4
"""Of one attribute; whoever tells it more often repeats himself."""
_TAG, _SAID = 60, 120
_JOINING = frozenset({"a", "an", "at", "by", "from", "in", "of", "on", "the", "to", "under", "with"})


class LexiconClient:
    """Reads English and Japanese offline. Same request, same draft."""

    name = "lexicon"
    model = "lexicon-2"

    def __init__(self) -> None:
        """Reads the word lists, about a second once a process, so that no request waits for them."""
        _matcher()
        dictionary()
        load()

    def draft(self, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        """The request as a draft; `problems` change nothing, for there is only one way to read it here."""
        text = level(ftfy.fix_text(request.text, _FIXES))
        cut = Segmentation(Lattice(text, _matcher(), phrases())).cut()
        pieces, denied = _denied(cut.pieces)
        asked = [piece for piece in pieces if piece.kind == "phrase"]
        extra, unread = _rest(text, pieces)
        return Draft(
            subject=_subject(asked),
            attributes=_readings(text, cut, asked),
            extra=extra,
            quality=_unique((piece.phrase.quality for piece in asked), 8),
            negative=_unique([*_negative(text, denied), *_listed(request.negative)], MAX_EXTRA),
            corrections=_corrections(text, cut.pieces),
            unread=unread,
            language=_language(text) if request.language == "auto" else request.language,
            parts=laid_out(text, cut.pieces),
        )


@lru_cache(maxsize=1)
def _matcher() -> Matcher:
    return Matcher(phrases().known, phrases().fillers)


def _subject(asked: Sequence[Piece]) -> str:
    """Who is drawn; nobody in particular where several are told."""
    told = {piece.phrase.subject for piece in asked if piece.phrase.subject}
    return told.pop() if len(told) == 1 else ""


def _language(text: Text) -> Language:
    """By script; one Japanese character says about as much as two letters."""
    japanese = sum(map(is_japanese, text.keys))
    latin = sum(mark.isalpha() for mark in text.keys) - japanese
    return "ja" if 2 * japanese > latin else "en"


def _denied(path: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """The pieces that are asked for, and those behind a `no` or (in Japanese) before a なし."""
    kept: list[Piece] = []
    denied: list[Piece] = []
    waiting = False
    for piece in path:
        if piece.kind == "not":
            if not piece.edges[0].japanese:
                waiting = True
            elif kept and kept[-1].kind in ("phrase", "open"):
                denied.append(kept.pop())
        elif waiting and piece.kind != "filler":
            denied.append(piece)
            waiting = False
        elif piece.kind != "filler" or not (piece.edges and piece.edges[0].japanese):
            kept.append(piece)
    return kept, denied


def _negative(text: Text, denied: Sequence[Piece]) -> list[str]:
    tags = []
    for piece in denied:
        pairs = piece.phrase.pairs
        tags += [words(*pair)[0] for pair in pairs] or [_shown(text, piece)]
    return tags


def _listed(said: str) -> list[str]:
    return said.replace("、", ",").replace("\n", ",").split(",")


def _unique(tags: Iterable[str], most: int) -> tuple[str, ...]:
    """Non-empty tags that fit, each once."""
    cropped = (plain(plain(tag)[:_TAG]) for tag in tags)
    return tuple(dict.fromkeys(tag for tag in cropped if tag))[:most]


def _readings(text: Text, cut: Cut, asked: Sequence[Piece]) -> tuple[Reading, ...]:
    """One reading per attribute: the surest, the earlier one of equals."""
    found: dict[str, list[Reading]] = {}
    for piece in asked:
        for attribute, value in piece.phrase.pairs:
            readings = found.setdefault(attribute, [])
            if len(readings) < _MENTIONS:
                readings.append(_reading(text, cut, piece, attribute, value))
    return tuple(_settled(readings) for readings in found.values())


def _reading(text: Text, cut: Cut, piece: Piece, attribute: str, value: str) -> Reading:
    """Softmax over what the same stretch may mean instead, by the cost of the cheapest path through each meaning."""
    costs: dict[str, float] = {}
    for cost, rival in cut.rivals:
        if rival.start < piece.end and piece.start < rival.end and not _within(rival, piece):
            for name, other in rival.phrase.pairs:
                if name == attribute:
                    costs[other] = min(cost, costs.get(other, math.inf))
    best = costs.pop(value)
    likely = sorted(costs, key=lambda other: (costs[other], other))
    weight = sum(math.exp(-_SHARPNESS * max(costs[other] - best, 0.0)) for other in likely)
    slips = sum(edge.cost for edge in piece.edges)
    doubt = math.exp(-_SHARPNESS * max(piece.blank - slips, 0.0)) - math.exp(-_SHARPNESS * piece.blank)
    likelihood = math.exp(-0.1 * slips)
    return Reading(
        attribute=attribute,
        value=value,
        said=text.said(piece.start, piece.end)[:_SAID],
        probability=round(_SURE * likelihood / (1 + weight + max(doubt, 0.0)), 4),
        alternatives=tuple(other for other in likely if costs[other] - best < 2.0)[:8],
    )


def _within(rival: Piece, piece: Piece) -> bool:
    """Whether `rival` leaves out words that are spelled right, as `glasses` does of `no glasses`."""
    left_out = set(piece.edges) - set(rival.edges)
    return set(rival.edges) < set(piece.edges) and not any(edge.cost for edge in left_out)


def _settled(readings: Sequence[Reading]) -> Reading:
    """A contradiction goes to the surest; what else was said comes first among the alternatives."""
    surest = max(readings, key=lambda reading: reading.probability)
    best = next(reading for reading in readings if reading.probability > surest.probability - _CLEARLY)
    others = dict.fromkeys(reading.value for reading in readings if reading.value != best.value)
    if not others:
        return best
    alternatives = tuple(dict.fromkeys([*others, *best.alternatives]))[:8]
    return best.model_copy(
        update={"alternatives": alternatives, "probability": round(best.probability * _CONTRADICTED, 4)}
    )


def _rest(text: Text, pieces: Sequence[Piece]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What no attribute covers: tags of words that stand together, and among them words that nobody uses."""
    extra: list[str] = []
    unread: list[str] = []
    for group in _groups(text, pieces):
        said = [_shown(text, piece) for piece in group]
        glue = "" if any(map(is_japanese, "".join(said))) else " "
        extra.append(plain(glue.join(said)))
        unread += [_shown(text, piece) for piece in group if piece.kind == "unknown" and not _is_used(text, piece)]
    extra += [piece.phrase.extra for piece in pieces if piece.phrase.extra]
    extra += [text.said(edge.start, edge.end) for piece in pieces for edge in piece.edges if _is_guest(text, edge)]
    return _unique(extra, MAX_EXTRA), _unique(unread, 64)


def _is_used(text: Text, piece: Piece) -> bool:
    """Whether people use the word at all; a kanji or a command is one."""
    typed = text.keys[piece.start : piece.end]
    return not typed.isalpha() or is_japanese(typed[0]) or zipf(typed) > UNLISTED


def _is_guest(text: Text, edge: Edge) -> bool:
    return edge.why == "guest" and not is_japanese(text.keys[edge.start])


def _groups(text: Text, pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Leftover pieces, together where nothing but blanks and small words (`depth of field`) stand between them."""
    groups: list[list[Piece]] = []
    between: list[Piece] = []
    end = -1
    for piece in pieces:
        apart = end < 0 or bool(text.keys[end : piece.start].strip())
        if piece.kind in ("open", "orphan", "unknown"):
            near = not apart and len(groups[-1]) < 8
            if near and not (is_japanese(text.keys[piece.start]) and piece.start > end):
                groups[-1] += [*between, piece]
            else:
                groups.append([piece])
            between, end = [], piece.end
        elif not apart and _joins(piece):
            between, end = [*between, piece], piece.end
        else:
            between, end = [], -1
    return groups


def _joins(piece: Piece) -> bool:
    """Whether words on both sides of a filler belong together."""
    return piece.kind == "filler" and all(word in _JOINING for edge in piece.edges for word in edge.words)


def _shown(text: Text, piece: Piece) -> str:
    """An open word in English and rightly spelled; all else as it was typed."""
    if piece.edges and (piece.edges[0].why or piece.edges[0].japanese):
        return " ".join(word for edge in piece.edges for word in edge.words)
    return unicodedata.normalize("NFC", text.said(piece.start, piece.end))


def _corrections(text: Text, pieces: Sequence[Piece]) -> tuple[Correction, ...]:
    """Every word that was read as another one."""
    edges = [edge for piece in pieces if piece.kind != "unknown" for edge in piece.edges if edge.why != "guest"]
    found = [_correction(text, edge) for edge in _together(edges)]
    return tuple(each for each in found if each is not None)[:64]


def _together(edges: Sequence[Edge]) -> list[Edge]:
    """Words that were typed without a blank between them are one mistake."""
    joined: list[Edge] = []
    for edge in edges:
        last = joined[-1] if joined else None
        if last and last.end == edge.start and not edge.japanese and not last.japanese:
            why = last.why if last.why == edge.why else "typo"
            joined[-1] = Edge(last.start, edge.end, (*last.words, *edge.words), last.cost + edge.cost, why)
        else:
            joined.append(edge)
    return joined


def _correction(text: Text, edge: Edge) -> Correction | None:
    said = text.said(edge.start, edge.end)
    meant = " ".join(edge.words)
    if not said or not meant or len(said) > _SAID:
        return None
    why = edge.why
    if not why:
        if is_width(said):
            why = "width"
        elif edge.japanese:
            why = "" if _as_spelled(said) else "look-alike"
        elif said.lower() != meant:
            why = "look-alike"
    if not why:
        return None
    return Correction.model_validate({"said": said, "meant": meant, "why": why})


def _as_spelled(said: str) -> bool:
    """Whether a dictionary word is typed with its own characters, and not with 口 for ロ."""
    return hiragana(unicodedata.normalize("NFKC", said).lower()) in dictionary().spellings

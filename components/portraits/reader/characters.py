"""Characters of a request in the one form that is matched: width, invisible marks, look-alikes and kana are levelled.

Unicode's own tables do most of it: NFKC for width (UAX #15), the confusables of UTS #39 for look-alikes.
"""

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from confusable_homoglyphs.confusables import is_confusable

MAX_FORMS = 8
"""A word of many ambiguous look-alikes has exponentially many forms; the first few hold the meant one."""

MAX_KEYS = 2500
"""NFKC may turn one character into eighteen."""
_HIRAGANA_SHIFT = ord("ァ") - ord("ぁ")
_BLANKS_THAT_ARE_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_LETTER_NAME = re.compile(
    r"LATIN (?:LETTER SMALL CAPITAL|(?:SMALL|CAPITAL) LETTER)(?: TURNED| REVERSED| OPEN| DOTLESS)? ([A-Z])(?: WITH .+)?"
)
_ENCLOSED = re.compile(r"(?:PARENTHESIZED|CIRCLED|SQUARED|NEGATIVE \w+) LATIN (?:SMALL|CAPITAL) LETTER ([A-Z])")
_VOICING = {"゛": "\u3099", "゜": "\u309a", "ﾞ": "\u3099", "ﾟ": "\u309a"}
_AFTER_KANA_LONG = frozenset("-‐‑‒–—―─━−~〜～ㅡ|")
"""Strokes that are typed for the long-vowel mark; elsewhere they are dashes."""

_VARIANTS = str.maketrans("髮发發黑綠绿红蓝鏡镜黃银铜紅戴眞佪", "髪髪髪黒緑緑赤青鏡鏡黄銀銅赤戴真向")
"""Chinese and old forms of the kanji that the vocabulary uses."""


@dataclass(frozen=True)
class Text:
    """A request twice: as it was typed, and levelled for matching (`keys`, lower case, one character per origin)."""

    source: str
    keys: str
    origin: Sequence[int]
    forms: Mapping[int, tuple[str, ...]]

    def said(self, start: int, end: int) -> str:
        """The typed characters behind `keys[start:end]`."""
        if start >= end:
            return ""
        last = self.origin[end] if end < len(self.origin) else len(self.source)
        return self.source[self.origin[start] : max(last, self.origin[end - 1] + 1)].strip()

    def typed(self, start: int, end: int) -> str:
        """The request from `keys[start]` to `keys[end]` with blanks and unseen marks; from 0 its very beginning."""
        first, last = (self._place(at) for at in (start, end))
        return self.source[first if start else 0 : last]

    def _place(self, at: int) -> int:
        return self.origin[at] if at < len(self.origin) else len(self.source)

    def spellings(self, start: int, end: int) -> list[str]:
        """What `keys[start:end]` may spell: an ambiguous look-alike stands for any of its letters."""
        options = (self.forms.get(i, (self.keys[i],)) for i in range(start, end))
        return ["".join(each) for each in itertools.islice(itertools.product(*options), MAX_FORMS)]


def level(source: str) -> Text:
    """`source` for matching."""
    keys: list[str] = []
    origin: list[int] = []
    forms: dict[int, tuple[str, ...]] = {}
    for cluster, at in _clusters(source):
        if len(keys) > MAX_KEYS:
            break
        for mark in _levelled(cluster, keys[-1] if keys else ""):
            if len(mark) > 1 or (not mark.isascii() and not is_japanese(mark)):
                options = _latin(mark)
                forms[len(keys)] = options
                mark = options[0]
            keys.append(mark if len(mark) == 1 else mark[0])
            origin.append(at)
    return Text(source, "".join(keys), origin, {at: each for at, each in forms.items() if each != (keys[at],)})


def is_japanese(mark: str) -> bool:
    """Kana, kanji, and the marks that stand among them."""
    return "\u3041" <= mark <= "\u30ff" or "\u4e00" <= mark <= "\u9fff" or mark in "々〆\u3400"


def is_kana(mark: str) -> bool:
    """Hiragana, katakana, or the long-vowel mark."""
    return "\u3041" <= mark <= "\u30ff"


def kana(text: str) -> str:
    """Katakana as hiragana, and the kanji that look like katakana too; dictionary and request alike."""
    return "".join(_kana(mark) for mark in text)


def hiragana(text: str) -> str:
    """Katakana as hiragana and nothing else, so that 口 stays the kanji."""
    return "".join(chr(ord(mark) - _HIRAGANA_SHIFT) if "ァ" <= mark <= "ヶ" else mark for mark in text)


def is_width(text: str) -> bool:
    """Whether `text` holds a full-width or half-width form."""
    return any(unicodedata.east_asian_width(mark) in "FH" and mark != "\u3000" for mark in text)


def _clusters(source: str) -> list[tuple[str, int]]:
    """Every visible character with the marks that sit on it; at most three, which is more than any letter bears."""
    clusters: list[tuple[str, int]] = []
    for at, mark in enumerate(source):
        mark = _VOICING.get(mark, mark)
        if mark.isascii() and mark.isprintable():
            clusters.append((mark, at))
        elif mark.isspace():
            clusters.append(("\n" if mark in "\r\n\u2028\u2029" else " ", at))
        elif _is_mark(mark):
            if clusters and len(clusters[-1][0]) < 4:
                clusters[-1] = (clusters[-1][0] + mark, clusters[-1][1])
        elif not _is_invisible(mark):
            clusters.append((mark, at))
    return clusters


def _is_mark(mark: str) -> bool:
    return unicodedata.category(mark) in ("Mn", "Me", "Mc")


def _is_invisible(mark: str) -> bool:
    return unicodedata.category(mark)[0] == "C" or mark in _BLANKS_THAT_ARE_LETTERS


def _levelled(cluster: str, before: str) -> list[str]:
    """The characters that one cluster stands for."""
    if cluster.isascii():
        low = cluster.lower()
        return ["ー"] if low in _AFTER_KANA_LONG and before and is_kana(before) else [low]
    if enclosed := _ENCLOSED.fullmatch(unicodedata.name(cluster[0], "")):
        return [enclosed[1].lower()]
    composed = unicodedata.normalize("NFKC", cluster)
    if before and is_kana(before) and composed in _AFTER_KANA_LONG:
        return ["ー"]
    if composed and is_japanese(composed[0]):
        return [_kana(mark) for mark in composed if is_japanese(mark)]
    parts = unicodedata.normalize("NFKD", composed).lower()
    return [mark for mark in parts if not _is_mark(mark) and not _is_invisible(mark)]


@lru_cache(maxsize=8192)
def _kana(mark: str) -> str:
    mark = mark.translate(_VARIANTS)
    mark = _katakana_alikes().get(mark, mark)
    return hiragana(mark)


def _alike(mark: str) -> list[str]:
    return [other["c"] for found in is_confusable(mark, greedy=True) or () for other in found["homoglyphs"]]


@lru_cache(maxsize=1)
def _katakana_alikes() -> Mapping[str, str]:
    """Kanji that look like a katakana, such as 力 and カ: they are levelled on both sides, so that 口 still matches."""
    table = {
        alike: chr(code)
        for code in (*range(ord("ァ"), ord("ヶ")), ord("ー"))
        for alike in _alike(chr(code))
        if len(alike) == 1 and "\u4e00" <= alike <= "\u9fff"
    }
    return {**table, "八": "ハ", "匕": "ヒ", "才": "オ", "千": "チ", "厶": "ム", "乂": "メ", "丿": "ノ"}


@lru_cache(maxsize=1)
def _latin_alikes() -> Mapping[str, tuple[str, ...]]:
    """Character -> the ASCII letters that it looks like."""
    table: dict[str, list[str]] = {}
    for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        for alike in _alike(letter):
            options = table.setdefault(alike, [])
            if len(alike) == 1 and not alike.isascii() and letter.lower() not in options:
                options.append(letter.lower())
    return {alike: tuple(options) for alike, options in table.items() if options}


@lru_cache(maxsize=8192)
def _latin(mark: str) -> tuple[str, ...]:
    table = _latin_alikes()
    return table.get(mark) or table.get(mark.upper()) or _named(mark) or (mark,)


def _named(mark: str) -> tuple[str, ...]:
    """The letter in the name that Unicode gives to small capitals, strokes, hooks and turned letters."""
    found = _LETTER_NAME.fullmatch(unicodedata.name(mark, ""))
    return (found[1].lower(),) if found else ()

"""Japanese in Latin letters: `kinpatsu`, `pinku no kami`, in the spellings of Hepburn and of the input methods."""

import re
from collections.abc import Mapping

_VOWELS = "aiueo"
_ROWS: Mapping[str, str] = {
    "": "あいうえお", "k": "かきくけこ", "s": "さしすせそ", "t": "たちつてと", "n": "なにぬねの", "h": "はひふへほ",
    "m": "まみむめも", "r": "らりるれろ", "g": "がぎぐげご", "z": "ざじずぜぞ", "d": "だぢづでど", "b": "ばびぶべぼ",
    "p": "ぱぴぷぺぽ", "j": "　じ　　　", "f": "　　ふ　　", "y": "や　ゆ　よ", "w": "わ　　　を",
}  # fmt: skip
_SYLLABLES: Mapping[str, str] = {
    **{row + vowel: kana for row, all_kana in _ROWS.items() for vowel, kana in zip(_VOWELS, all_kana, strict=True)
       if kana != "　"},
    "shi": "し", "chi": "ち", "tsu": "つ",
    **{start + vowel: kana + small for start, kana in (
        ("ky", "き"), ("sh", "し"), ("sy", "し"), ("ch", "ち"), ("ty", "ち"), ("ny", "に"), ("hy", "ひ"), ("my", "み"),
        ("ry", "り"), ("gy", "ぎ"), ("j", "じ"), ("jy", "じ"), ("zy", "じ"), ("by", "び"), ("py", "ぴ"),
    ) for vowel, small in zip("auo", "ゃゅょ", strict=True)},
    "she": "しぇ", "che": "ちぇ", "je": "じぇ", "fa": "ふぁ", "fi": "ふぃ", "fe": "ふぇ", "fo": "ふぉ", "ti": "てぃ",
}  # fmt: skip
_SYLLABLE = re.compile(
    "|".join(sorted(_SYLLABLES, key=len, reverse=True)) + "|n'?|-|" + "|".join(f"{c}(?={c})" for c in "kstpcgdbzj")
)
PARTICLES = frozenset({"no", "wo", "o", "ga", "ni", "de", "wa", "to"})


def to_kana(word: str) -> str:
    """Hiragana of a word in Latin letters; empty where it is none."""
    found, at = "", 0
    while at < len(word):
        syllable = _SYLLABLE.match(word, at)
        if syllable is None:
            return ""
        found += _kana(syllable[0])
        at = syllable.end()
    return found


def _kana(syllable: str) -> str:
    if syllable in _SYLLABLES:
        return _SYLLABLES[syllable]
    return "ん" if syllable[0] == "n" else "ー" if syllable == "-" else "っ"

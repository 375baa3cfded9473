"""Mistakes that people make, put into a prompt on purpose: typos, look-alike glyphs, words written as they sound.

The three kinds are those of Gao et al. (arXiv 2306.13103). Only words that carry an asked attribute are hit, and at
least one of them, for a mistake elsewhere says nothing. The tables here are shared with nobody: who is to undo these
mistakes must not know them.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from components.portraits import mistakes
from components.portraits.vocabulary import ATTRIBUTES, words
from components.prompting.reader import KINDS, AttackKind
from components.prompting.vocabulary import Language

RATE = 0.25

_WORD = re.compile(r"[A-Za-z]+")
_JAPANESE = re.compile(r"[぀-ヿ㐀-鿿]")
_TRIES = 40


@dataclass(frozen=True)
class Attacked:
    """A prompt with mistakes in it; `hits` has the words before and after."""

    text: str
    kind: AttackKind
    hits: tuple[tuple[str, str], ...]


def attack(text: str, asked: Mapping[str, str], kind: AttackKind, *, rate: float = RATE, seed: int = 0) -> Attacked:
    """`text` with `rate` of the words that carry an attribute of `asked` hit by `kind`; at least one of them.

    Raises:
        ValueError: the rate is not in (0, 1], or the kind is unknown.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"rate {rate} must be above 0 and at most 1")
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is unknown; known: {', '.join(KINDS)}")
    rng = random.Random(f"{kind}/{seed}/{text}")
    spots = carriers(text, asked)
    chosen = sorted(rng.sample(spots, min(len(spots), ceil(rate * len(spots)))), reverse=True)
    hits = []
    for start, end in chosen:  # from the back, so that places in front stay
        word = text[start:end]
        mistaken = _spoil(word, kind, rng)
        if mistaken != word:
            hits.append((word, mistaken))
            text = text[:start] + mistaken + text[end:]
    return Attacked(text, kind, tuple(reversed(hits)))


def spoilt(text: str, asked: Mapping[str, str], kind: AttackKind, *, seed: int) -> str:
    """The text of `attack` at the usual rate: what a `Reader` offers."""
    return attack(text, asked, kind, seed=seed).text


def carriers(text: str, asked: Mapping[str, str]) -> list[tuple[int, int]]:
    """Where the words stand that tell one value of an asked attribute from its others: `black` in `black hair`."""
    language: Language = "ja" if _JAPANESE.search(text) else "en"
    telling = {word for name, value in asked.items() for word in _telling(name, value, language)}
    if language == "en":
        return [match.span() for match in _WORD.finditer(text) if match.group().lower() in telling]
    taken: list[tuple[int, int]] = []
    for word in sorted(telling, key=len, reverse=True):
        for match in re.finditer(re.escape(word), text):
            if all(match.end() <= start or match.start() >= end for start, end in taken):
                taken.append(match.span())
    return sorted(taken)


def _telling(name: str, value: str, language: Language) -> set[str]:
    """English words, or Japanese phrases, of `value` that no other value of the attribute has."""
    if language == "ja":
        return set(words(name, value, language))
    others = {word for other in ATTRIBUTES[name] if other != value for word in _pieces(name, other)}
    own = set(_pieces(name, value))
    return (own - others or own) - mistakes.FUNCTION_WORDS


def _pieces(name: str, value: str) -> Iterator[str]:
    for phrase in words(name, value, "en"):
        yield from (piece.lower() for piece in _WORD.findall(phrase))


def _spoil(word: str, kind: AttackKind, rng: random.Random) -> str:
    """One mistake in a word; two in a long one, for one of eight letters is often read over."""
    table = _JAPANESE_MISTAKES if _JAPANESE.search(word) else _ENGLISH_MISTAKES
    changed = word
    for _ in range(2 if kind != "phonetic" and len(word) > 6 else 1):
        changed = _changed(changed, table[kind], rng)
    return changed if changed != word else _changed(word, table["typo"], rng)


def _changed(word: str, ways: Sequence[Callable[[str, random.Random], str]], rng: random.Random) -> str:
    for _ in range(_TRIES):
        made = rng.choice(ways)(word, rng)
        if made != word and made:
            return made
    return word


def _place(word: str, rng: random.Random, room: int = 1) -> int:
    """A place in a word; rarely its first letter, which few people get wrong."""
    last = len(word) - room
    return rng.randint(1, last) if last >= 1 and rng.random() < 0.85 else rng.randint(0, max(last, 0))


def _insert(word: str, rng: random.Random) -> str:
    at = _place(word, rng)
    return word[:at] + rng.choice(mistakes.LETTERS) + word[at:]


def _delete(word: str, rng: random.Random) -> str:
    at = _place(word, rng)
    return word[:at] + word[at + 1 :] if len(word) > 2 else word


def _swap(word: str, rng: random.Random) -> str:
    if len(word) < 2:
        return word
    at = _place(word, rng, room=2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _substitute(word: str, rng: random.Random) -> str:
    at = _place(word, rng)
    return word[:at] + rng.choice(mistakes.LETTERS) + word[at + 1 :]


def _neighbour(word: str, rng: random.Random) -> str:
    return _mapped(word, rng, mistakes.NEIGHBOURS)


def _look_alike(word: str, rng: random.Random) -> str:
    return _mapped(word, rng, mistakes.LOOK_ALIKES)


def _full_width(word: str, rng: random.Random) -> str:
    """The whole word, as an input method left in the wrong mode writes it."""
    return "".join(chr(ord(mark) + 0xFEE0) if "!" <= mark <= "~" else mark for mark in word)


def _zero_width(word: str, rng: random.Random) -> str:
    at = _place(word, rng)
    return word[:at] + rng.choice(mistakes.INVISIBLE) + word[at:]


def _homophone(word: str, rng: random.Random) -> str:
    return rng.choice(mistakes.HOMOPHONES.get(word.lower(), (word,)))


def _respelled(word: str, rng: random.Random) -> str:
    """Written as it sounds, by one of the spellings that English has for the sound."""
    possible = [(pattern, other) for pattern, other in mistakes.SPELLINGS if re.search(pattern, word.lower())]
    if not possible:
        return word
    pattern, other = rng.choice(possible)
    return re.sub(pattern, other, word.lower(), count=1)


def _japanese_neighbour(word: str, rng: random.Random) -> str:
    return _mapped(word, rng, mistakes.KANA_NEIGHBOURS)


def _japanese_look_alike(word: str, rng: random.Random) -> str:
    return _mapped(word, rng, mistakes.JAPANESE_LOOK_ALIKES)


def _half_width(word: str, rng: random.Random) -> str:
    return "".join(mistakes.HALF_WIDTH.get(mark, mark) for mark in word)


def _other_kana(word: str, rng: random.Random) -> str:
    """Hiragana for katakana and the other way round."""
    return "".join(
        chr(ord(mark) - 0x60) if "ァ" <= mark <= "ヶ" else chr(ord(mark) + 0x60) if "ぁ" <= mark <= "ゖ" else mark
        for mark in word
    )


def _misconverted(word: str, rng: random.Random) -> str:
    """The input method offered another word of the same sound."""
    return _mapped(word, rng, mistakes.SAME_SOUND)


def _mapped(word: str, rng: random.Random, table: Mapping[str, Sequence[str]]) -> str:
    """One mark that `table` knows, replaced."""
    places = [at for at, mark in enumerate(word) if mark.lower() in table]
    if not places:
        return word
    at = rng.choice(places)
    return word[:at] + rng.choice(table[word[at].lower()]) + word[at + 1 :]


_Ways = Mapping[AttackKind, Sequence[Callable[[str, random.Random], str]]]
_ENGLISH_MISTAKES: _Ways = {
    "typo": (_insert, _delete, _swap, _substitute, _neighbour),
    "glyph": (_look_alike, _look_alike, _full_width, _zero_width),
    "phonetic": (_homophone, _respelled, _respelled),
}
_JAPANESE_MISTAKES: _Ways = {
    "typo": (_delete, _swap, _japanese_neighbour, _japanese_neighbour),
    "glyph": (_japanese_look_alike, _half_width, _zero_width),
    "phonetic": (_misconverted, _misconverted, _other_kana),
}

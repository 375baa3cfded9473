"""Whether two English words sound alike, by rules of spelling: consonants by Metaphone, vowels by their usual letters.

Metaphone alone drops vowels, so that `bell` would sound like `blue`.
"""

import re
from functools import lru_cache

import jellyfish

# Letters -> the vowel that they usually spell; the first that fits. A, E, I, O, U: long; small letters: short.
_SPELLINGS = (
    ("aigh|ai|ay|eigh|ei|ey|a(?=[^aeiouwy]e$)", "A"),
    ("igh|ie(?=[ds]?$)|i(?=[^aeiouwy]e$)|y(?=[^aeiouwy]?e?$)", "I"),
    ("ee|ie|e(?=[^aeiouwy]e$)", "E"),
    ("ew|ue|eu|oo|ui|u(?=[^aeiouwy]e$)", "U"),
    ("oa|ow|o(?=[^aeiouwy]e$)", "O"),
    ("au|aw", "W"),
    ("ea", "?"),
    ("aa?", "a"), ("e(?=.)", "e"), ("i", "i"), ("o", "o"), ("u", "u"),
)  # fmt: skip
_VOWEL = re.compile("|".join(f"({letters})" for letters, _ in _SPELLINGS))
_EITHER = frozenset(map(frozenset, ("?E", "?e", "?A", "Wo")))
"""`ea` as in read (both ways) and great; `aw` and `o` as in long."""


def consonants_agree(one: str, other: str) -> bool:
    """Whether Metaphone knows no difference."""
    return _metaphone(one) == _metaphone(other)


def sounds_like(one: str, other: str) -> bool:
    """Whether consonants and vowels agree: `blew` and `blue`, `pail` and `pale`, but not `bell` and `blue`."""
    first, second = _vowels(one), _vowels(other)
    alike = len(first) == len(second) and all(
        a == b or frozenset((a, b)) in _EITHER for a, b in zip(first, second, strict=True)
    )
    return alike and consonants_agree(one, other)


@lru_cache(maxsize=16384)
def _metaphone(word: str) -> str:
    return jellyfish.metaphone(word)


@lru_cache(maxsize=16384)
def _vowels(word: str) -> str:
    return "".join(_SPELLINGS[(found.lastindex or 1) - 1][1] for found in _VOWEL.finditer(word))

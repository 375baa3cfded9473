"""What a model can be asked for by name: attributes, their values, and the words for them in two languages."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Language = Literal["en", "ja"]
Words = tuple[tuple[str, ...], tuple[str, ...]]
"""English and Japanese words for one value; the first of each is the canonical one."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """`entries`: attribute -> value -> words. Compared and hashed by identity, so that functions may cache by it."""

    entries: Mapping[str, Mapping[str, Words]]

    @cached_property
    def attributes(self) -> Mapping[str, tuple[str, ...]]:
        """Attribute -> its values, in the order of importance."""
        return {attribute: tuple(values) for attribute, values in self.entries.items()}

    def words(self, attribute: str, value: str, language: Language = "en") -> tuple[str, ...]:
        """The words for a value, the canonical one first. Raises KeyError where there is no such value."""
        english, japanese = self.entries[attribute][value]
        return japanese if language == "ja" else english

    def meaning(self, tag: str) -> tuple[str, str] | None:
        """The attribute and value that a tag is a word for: `pink hair` -> (hair_color, pink)."""
        return self._meanings.get(tag.casefold())

    def canonical(self, tag: str) -> tuple[str, str] | None:
        """As `meaning`, of the first words alone."""
        known = self.meaning(tag)
        firsts = () if known is None else (words[0].casefold() for words in self.entries[known[0]][known[1]])
        return known if tag.casefold() in firsts else None

    def as_json(self) -> dict[str, dict[str, dict[Language, list[str]]]]:
        """Attribute -> value -> language -> words, the canonical one first."""
        return {
            attribute: {value: {"en": list(english), "ja": list(japanese)} for value, (english, japanese) in of.items()}
            for attribute, of in self.entries.items()
        }

    @cached_property
    def _meanings(self) -> Mapping[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for attribute, values in self.entries.items():
            for value, (english, japanese) in values.items():
                for word in (*english, *japanese):
                    found.setdefault(word.casefold(), (attribute, value))
        return found


EMPTY = Vocabulary({})
"""Of a model that follows free text: nothing is known by name."""

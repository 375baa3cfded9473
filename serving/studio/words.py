"""Texts of the page: words/ja.json (the source language) and words/en.json, with equal keys."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "words"
LANGUAGES = {"ja": "日本語", "en": "English"}


@dataclass(frozen=True)
class Words:
    """The texts of one language."""

    language: str
    texts: dict[str, str]

    def __call__(self, key: str, /, **values: Any) -> str:
        """A text with its values filled in. Raises KeyError for an unknown key."""
        return self.texts[key].format(**values)

    def known(self, key: str, otherwise: str) -> str:
        """The text of a key that need not exist, such as the name of an attribute that only a model knows."""
        return self.texts.get(key, otherwise)

    def attribute(self, name: str) -> str:
        """What an attribute of a model's vocabulary is called: hair_color -> 髪の色."""
        return self.known(f"attribute.{name}", name.replace("_", " "))


@cache
def load(language: str) -> Words:
    """The texts of a language; Japanese where it is unknown."""
    known = language if language in LANGUAGES else "ja"
    return Words(known, json.loads((HERE / f"{known}.json").read_text(encoding="utf-8")))

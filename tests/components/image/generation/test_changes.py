"""Edits in words."""

import pytest

from components.errors import RequestError
from components.image.generation.changes import changed
from components.portraits.vocabulary import VOCABULARY
from components.prompting.vocabulary import EMPTY


@pytest.mark.parametrize(
    ("prompt", "change", "became"),
    [
        ("pink hair, smile", {"expression": "frown"}, "pink hair, frown"),
        ("pink hair, smile", {"Hair color": "blue hair"}, "blue hair, smile"),
        ("a girl with medium brown hair, smiling", {"hair_color": "green"}, "a girl with medium green hair, smiling"),
        ("(pink hair:1.2), smile", {"hair_color": "red"}, "(red hair:1.2), smile"),
        ("pink hair", {"background": "yellow"}, "pink hair, yellow background"),
        ("", {"background": "yellow"}, "yellow background"),
        ("ピンク髪、笑顔", {"expression": "しかめ面"}, "ピンク髪、frown"),
        ("a red car, smile", {"red car": "old bicycle"}, "a old bicycle, smile"),
        ("pink hair, smile", {"expression": "frown", "hair_color": "black"}, "black hair, frown"),
        ("very long hair, no glasses", {"glasses": "yes"}, "very long hair, glasses"),
    ],
)
def test_a_change_replaces_the_words_for_it(prompt, change, became):
    assert changed(prompt, change, VOCABULARY).prompt == became


def test_what_went_and_what_came_is_told():
    found = changed("pink hair, smile", {"expression": "frown", "background": "blue"}, VOCABULARY)
    assert (found.old, found.new) == (("smile", ""), ("frown", "blue background"))
    assert found.asked == {"expression": "frown", "background": "blue"}
    assert changed("pink hair, smile", {"smile": "laughing"}, VOCABULARY).asked == {"expression": "laugh"}
    assert changed("a red car", {"red": "blue"}, EMPTY).asked == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"wings": "two"}, r"'wings'.*hair_color, .*expression"),
        ({"expression": "furious"}, r"expression 'furious' is unknown. Known: smile, laugh, frown"),
        ({"ink hair": "red"}, "'ink hair'"),
        ({"": "red"}, "''"),
        ({"smile": " "}, "'smile'"),
    ],
)
def test_the_unknown_is_one_error_that_lists_what_is_known(change, said):
    with pytest.raises(RequestError, match=said):
        changed("pink hair, smile", change, VOCABULARY)


def test_without_a_vocabulary_that_is_said():
    with pytest.raises(RequestError, match="no vocabulary"):
        changed("pink hair", {"expression": "frown"}, EMPTY)

import itertools

import pytest

from components.portraits.vocabulary import (
    ATTRIBUTES,
    BASE_STYLES,
    DEMO_STYLE,
    STYLES,
    VARIANTS,
    shared,
    shows,
    values,
    words,
)


def test_the_demo_style_is_held_out_of_the_base():
    assert DEMO_STYLE in STYLES
    assert DEMO_STYLE not in BASE_STYLES
    assert {"adventurer", "toon-head", "micah"} < set(BASE_STYLES)


def test_every_value_has_words_in_both_languages_and_no_word_means_two_things():
    for language in ("en", "ja"):
        spoken = [w for name, ids in ATTRIBUTES.items() for value in ids for w in words(name, value, language)]
        assert all(spoken)
        assert len(spoken) == len(set(spoken))


def test_english_words_are_lower_case_tags_without_commas():
    for name, ids in ATTRIBUTES.items():
        for word in itertools.chain.from_iterable(words(name, value) for value in ids):
            assert word == word.lower()
            assert "," not in word


@pytest.mark.parametrize("style", STYLES)
def test_tables_name_only_known_attributes_and_values(style: str):
    for attribute, table in VARIANTS[style].items():
        assert attribute == "" or attribute in ATTRIBUTES
        assert set(table) <= {"", *ATTRIBUTES.get(attribute, ())}
        assert all(options for options in table.values())


@pytest.mark.parametrize("style", STYLES)
def test_every_style_shows_what_the_held_out_combinations_are_made_of(style: str):
    assert all(shows(style, name) for name in ("hair_color", "hair_style", "background"))


def test_what_a_style_cannot_draw_is_masked():
    assert not shows("adventurer", "clothes_color")
    assert not shows("toon-head", "glasses")
    assert not shows("toon-head", "facing")
    assert shows("micah", "hair_style")
    assert not shows("micah", "hair_style", "tied")
    assert values("lorelei", "clothes_color") == ()


def test_shared_is_what_both_styles_show_in_the_order_of_the_vocabulary():
    both = shared("toon-head", "lorelei")
    assert both == shared("lorelei", "toon-head")
    assert "expression" in both
    assert not {"clothes_color", "glasses", "earrings", "facing"} & set(both)
    assert list(both) == [name for name in ATTRIBUTES if name in both]

import random

from components.portraits.vocabulary import STYLES, words
from components.portraits.world.captions import caption, phrase, prompt
from components.portraits.world.renders import sample_portraits


def captions(count: int = 400) -> list[str]:
    rng = random.Random(0)
    return [caption(shown, rng, style_word=shown.style) for shown in sample_portraits(count, 0, STYLES)]


def test_captions_are_short_lower_case_and_name_their_style():
    for shown, text in zip(sample_portraits(400, 0, STYLES), captions(), strict=True):
        assert text == text.lower()
        assert len(text.replace(",", " ,").split()) < 60
        assert f"{shown.style} style" in text
        assert ", ," not in text
        assert not text.endswith(", ")


def test_no_style_word_no_style():
    rng = random.Random(1)
    assert not any("style" in caption(shown, rng, style_word=None) for shown in sample_portraits(100, 0))


def test_the_same_picture_has_many_captions_and_a_seed_has_one():
    shown = sample_portraits(1, 0)[0]
    assert len({caption(shown, random.Random(seed), style_word="micah") for seed in range(50)}) > 40
    assert caption(shown, random.Random(3), style_word=None) == caption(shown, random.Random(3), style_word=None)


def test_captions_are_tags_and_sentences_and_leave_things_unsaid():
    texts = captions()
    sentences = [text for text in texts if " with " in f" {text} "]
    assert 0.15 < len(sentences) / len(texts) < 0.5
    assert min(text.count(",") for text in texts) <= 3


def test_the_words_of_all_captions_are_few():
    known = {word for text in captions(2_000) for word in text.replace(",", " ").split()}
    assert 80 < len(known) < 300


def test_the_canonical_prompt_keeps_the_order_of_the_vocabulary():
    asked = {"background": "blue", "glasses": "yes", "hair_color": "pink", "hair_style": "long"}
    assert prompt(asked) == "pink hair, long hair, glasses, blue background"
    assert prompt(asked, "adventurer") == "adventurer style, pink hair, long hair, glasses, blue background"


def test_a_phrase_says_every_attribute():
    asked = {"skin": "tan", "expression": "frown", "background": "green", "clothes_color": "red", "tilt": "left"}
    for seed in range(60):
        text = phrase(asked, random.Random(seed))
        for name, value in asked.items():
            assert any(word in text for word in words(name, value)), (name, text)


def test_a_phrase_says_color_and_style_of_hair():
    for seed in range(60):
        text = phrase({"hair_color": "green", "hair_style": "long", "background": "pink"}, random.Random(seed))
        assert "green" in text
        assert "long" in text

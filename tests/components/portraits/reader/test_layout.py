"""What becomes of a request: nothing is lost, changed or moved but what was surely meant otherwise."""

import random

import pytest

from components.portraits.reader.lexicon import LexiconClient
from components.portraits.reader.phrases import phrases
from components.prompting.schema import Draft, PromptRequest

CLIENT = LexiconClient()


def read(text: str) -> Draft:
    return CLIENT.draft(PromptRequest(text=text))


def laid_out(text: str) -> str:
    return "".join(part.text for part in read(text).parts)


@pytest.mark.parametrize(
    "text",
    [
        "hatsune miku singing",
        "red hakama and white haori",
        "blunt bangs",
        "a boy and a girl",
        "mole under eye",
        "simple background",
        "from side",
        "oni",
        "score_9",
        "<lora:x:0.8>",
        "2girls, aqua hair, looking back",
        "3boys, 5girls, 2 girls",
        "blue eyes long hair",
        "light shining on glasses",
        "wind blew, hare, a mile of pail sand",
        "the idolm@ster, re:zero, saber (fate)",
        "Ren Amamiya, Kurisu Makise, frieren",
    ],
)
def test_what_people_mean_stays_as_it_is(text: str) -> None:
    draft = read(text)
    assert laid_out(text) == text
    assert draft.corrections == ()
    assert draft.asked in ({}, {"hair_style": "long"}, {"glasses": "yes"})


@pytest.mark.parametrize(
    "text",
    [
        "(pink hair:1.2), ((smile)), [glasses], BREAK, <lora:glases_v1:0.8>",
        "[red|blue] hair, {cute|cool} girl, __hair__",
        r"saber \(fate\), rin \(re:zero\)",
        "[cat:dog:0.5] AND 1girl, embedding:easynegative --ar 2:3",
        "((((long hair)))),, glasses",
    ],
)
def test_commands_pass_unbroken(text: str) -> None:
    assert laid_out(text) == text


def test_a_choice_is_no_colour() -> None:
    assert read("[red|blue] hair").asked == {}


@pytest.mark.parametrize(
    ("text", "became"),
    [
        ("a knight with pnik  hair", "a knight with pink  hair"),
        ("(pnik hiar:1.2), qxzvk", "(pink hair:1.2), qxzvk"),
        ("redhair girl", "red hair girl"),
        ("P1nk h\u0430ir, a \u202ecat\u202c", "pink hair, a cat"),
        ("ｐｉｎｋ hair, ｃat", "pink hair, ｃat"),
        ("pink hair &amp; glasses", "pink hair & glasses"),
        ("a \u0455word, ｃat", "a sword, ｃat"),
        ("cafÃ© with glases", "café with glasses"),
    ],
)
def test_a_slip_is_mended_where_it_stands(text: str, became: str) -> None:
    assert laid_out(text) == became


@pytest.mark.parametrize(
    ("text", "became"),
    [
        ("a girl with blew hair", "a girl with blew hair, blue hair"),
        ("crimson hair, hat", "crimson hair, red hair, hat"),
        ("2girls, twintails, cat", "2girls, twintails, tied hair, cat"),
        ("a red dress", "a red dress, red clothes"),
        (
            "a girl (in a red coat) with crimson hair.",
            "a girl (in a red coat) with crimson hair, red clothes, red hair.",
        ),
        ("(crimson hair, hat:1.2)\nsmile", "(crimson hair, red hair, hat:1.2)\nsmile"),
    ],
)
def test_what_the_vocabulary_has_not_is_told_beside_it(text: str, became: str) -> None:
    assert laid_out(text) == became


@pytest.mark.parametrize(
    ("text", "became"),
    [
        ("夕焼けの海辺で麦わら帽子の女の子", "夕焼けの海辺で麦わら帽子, 1girl"),
        ("青い背景に眼鏡をかけたピンクの髪の人物のアップ", "blue background, glasses, pink hair, person, closeup"),
        ("黒い服を着た少年", "black clothes, 1boy"),
        ("メイド服、女騎士、赤い瞳", "メイド服、女騎士、赤い瞳"),
        ("黒い紙の女の子", "黒い紙, black hair, 1girl"),
        ("雪の降る街を歩く二人", "雪の降る街を歩く二人"),
        ("歌っている銀髪の少女（笑顔）", "歌っている, silver hair, 1girl, （smile）"),
        ("1girl, 猫耳, 花火", "1girl, cat ears, 花火"),
    ],
)
def test_japanese_is_told_as_far_as_it_is_understood(text: str, became: str) -> None:
    assert laid_out(text) == became


def test_nothing_is_mended_into_a_small_word() -> None:
    """A dropped or doubled letter in every small word: none of them becomes another word."""
    for word in sorted(phrases().fillers):
        for typed in (word[1:], word + word[-1]):
            assert not {each.meant for each in read(f"{typed} zzyzx").corrections} & phrases().fillers


def test_what_nobody_understands_passes_whole() -> None:
    """Signs, brackets, emoji and scripts that the reader does not know, in any order."""
    rng = random.Random(3)
    signs = [*"()[]{}<>|\\/:;,.!?'\"+-*#@%&=~^_ \n", "🎨", "한국", "русский", "größe", "qxzvk", "ﬁ", "ナ二", "鰯雲"]
    for _ in range(200):
        text = "".join(rng.choice(signs) for _ in range(40)).strip()
        if text:
            assert laid_out(text) == text


def test_the_end_of_a_request_that_unfolds_is_not_lost() -> None:
    text = "ﷺ" * 200 + ", a cat"
    assert laid_out(text).endswith(", a cat")

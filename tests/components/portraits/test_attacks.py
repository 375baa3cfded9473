"""Attacks: seeded, of the asked kind and rate, only on words that carry an asked attribute."""

import unicodedata
from pathlib import Path

import pytest

from components.image.promptset import load
from components.portraits.attacks import attack, carriers
from components.portraits.mistakes import NEIGHBOURS
from components.prompting.reader import KINDS, AttackKind

PROMPTS = load(Path("data/prompts"), "calibrate", 64)
JAPANESE = "ピンクの髪で眼鏡の女の子、青い服、笑顔、白い背景"
ASKED = {"glasses": "yes", "clothes_color": "blue", "expression": "smile", "background": "white"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_prompt_is_hit_and_equal_seeds_agree(kind: AttackKind) -> None:
    for item in PROMPTS:
        once, again = (attack(item.prompt, item.attributes, kind, seed=item.seed) for _ in range(2))
        assert once == again
        assert once.hits and once.text != item.prompt
        assert all(before != after for before, after in once.hits)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_is_the_share_of_carriers(kind: AttackKind) -> None:
    for item in PROMPTS:
        spots = len(carriers(item.prompt, item.attributes))
        assert len(attack(item.prompt, item.attributes, kind, rate=1.0).hits) == spots
        assert len(attack(item.prompt, item.attributes, kind, rate=0.01).hits) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_carries_nothing_stays(kind: AttackKind) -> None:
    text = "a girl with long pink hair and a hat, on a blue background"
    hit = attack(text, {"hair_color": "pink"}, kind, rate=1.0, seed=3)
    assert [before for before, _ in hit.hits] == ["pink"]
    start = text.index("pink")
    assert hit.text[:start] == text[:start]
    assert hit.text.endswith(text[start + 4 :])


def test_shared_words_are_no_carriers() -> None:
    text = "no glasses, long hair, red shirt"
    words = [text[a:b] for a, b in carriers(text, {"hair_style": "long", "glasses": "no", "clothes_color": "red"})]
    assert words == ["long", "red"] or words == ["glasses", "long", "red"]


def test_glyphs_are_no_plain_letters_and_phonetics_are() -> None:
    for item in PROMPTS:
        for before, after in attack(item.prompt, item.attributes, "phonetic", rate=1.0, seed=5).hits:
            assert after.isascii(), (before, after)
    spoilt = [attack(item.prompt, item.attributes, "glyph", rate=1.0, seed=5) for item in PROMPTS]
    odd = [after for found in spoilt for _, after in found.hits]
    assert sum(not word.isascii() for word in odd) > 0.8 * len(odd)


@pytest.mark.parametrize("kind", KINDS)
def test_japanese(kind: AttackKind) -> None:
    for seed in range(20):
        hit = attack(JAPANESE, ASKED, kind, rate=0.5, seed=seed)
        assert len(hit.hits) == 2
        assert hit.text != JAPANESE
    phrases = [JAPANESE[start:end] for start, end in carriers(JAPANESE, ASKED)]
    assert phrases == ["眼鏡", "青い服", "笑顔", "白い背景"]


def test_half_width_is_undone_by_nfkc() -> None:
    text = "ボブカットの女の子"
    for seed in range(40):
        made = attack(text, {"hair_style": "bob"}, "glyph", rate=1.0, seed=seed).text
        if "ﾎﾞ" in made:
            assert unicodedata.normalize("NFKC", made) == text
            return
    pytest.fail("no half-width form in forty attacks")


def test_keyboard_neighbours_touch() -> None:
    assert set(NEIGHBOURS["g"]) >= {"f", "h", "t", "v"}
    assert not {"p", "q", "m"} & set(NEIGHBOURS["g"])
    assert all(key in NEIGHBOURS[other] for key, others in NEIGHBOURS.items() for other in others)


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.5])
def test_wrong_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=str(rate)):
        attack("pink hair", {"hair_color": "pink"}, "typo", rate=rate)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="speech"):
        attack("pink hair", {"hair_color": "pink"}, "speech")  # type: ignore[arg-type]


def test_nothing_to_hit_leaves_the_text() -> None:
    assert attack("a castle", {"hair_color": "pink"}, "typo").text == "a castle"

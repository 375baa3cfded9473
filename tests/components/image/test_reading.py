"""What is read, what is drawn as typed."""

import pytest

from components.image.generation.request import GenerateRequest
from components.image.reading import read, worded
from components.portraits.reader.lexicon import LexiconClient
from components.portraits.vocabulary import VOCABULARY
from components.prompting.generator import RobustPromptGenerator

READER = RobustPromptGenerator(LexiconClient(), vocabulary=VOCABULARY)


def asked(text: str, **fields: object) -> GenerateRequest:
    request = GenerateRequest(prompt=text, **fields)
    return worded(request, read(request, READER), "kyarachar", lambda text: len(text.split()))


@pytest.mark.parametrize("text", ["ピンクの髪で笑顔", "pnik hiar, smyle", "pink hair, smile"])
def test_a_request_is_put_in_the_models_words(text: str) -> None:
    assert asked(text).prompt == "pink hair, smile"


def test_what_must_not_be_shown_is_the_negative_prompt() -> None:
    found = asked("pink hair, no hat", negative_prompt="cat")
    assert (found.prompt, found.negative_prompt) == ("pink hair, no hat", "hat, cat")


@pytest.mark.parametrize(("generator", "raw"), [(READER, True), (None, False)])
def test_who_wants_it_is_taken_at_his_word(generator: RobustPromptGenerator | None, raw: bool) -> None:
    request = GenerateRequest(prompt="pnik hiar", raw=raw)
    assert read(request, generator) is None
    assert worded(request, None, "kyarachar", len) is request


@pytest.mark.parametrize("text", ["(pnik hiar:1.2), smile", "((pnik hair)), <lora:x:0.8>", "[cat|dog], pnik hair"])
def test_weights_and_commands_stay_around_what_is_read(text: str) -> None:
    assert asked(text).prompt == text.replace("pnik", "pink").replace("hiar", "hair")


def test_what_nobody_can_read_stays_as_typed() -> None:
    assert asked("qxzvk").prompt == "qxzvk"


def test_a_long_request_loses_its_least_important_tags() -> None:
    things = "cafe, tower, dragon, forest, river, castle, sword, staff, witch, knight, garden, candle, window, mirror"
    more = "guitar, violin, umbrella, basket, lantern, bridge, wagon, feather"
    request = GenerateRequest(prompt=f"{things}, {more}, pink hair")
    found = worded(request, read(request, READER), "kyarachar", lambda text: 30 * len(text.split(",")))
    assert found.prompt.startswith("cafe, tower")
    assert found.prompt.endswith("pink hair")
    assert 2 < len(found.prompt.split(",")) <= 600 // 30

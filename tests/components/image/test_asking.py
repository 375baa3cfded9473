"""From free text to a picture: what is read, offered, refused and drawn."""

from pathlib import Path

import pytest

from components.contracts import CALIBRATION
from components.errors import ModelError, RequestError
from components.image.generation.request import GenerateRequest
from components.portraits.reader.lexicon import LexiconClient
from components.prompting.confidence import Calibration, read_calibration
from components.prompting.schema import Draft, PromptRequest, Provenance, Reading, RobustPrompt
from components.settings import settings
from flows.asking import describe, draw, offers
from tests.promoted import tiny_version


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_version(tmp_path_factory.mktemp("asking"), "1")


def prompt(*readings: Reading, language: str = "en") -> RobustPrompt:
    draft = Draft(attributes=readings, language=language)
    return RobustPrompt(
        request="?", draft=draft, confidence=0.5, provenance=Provenance(client="lexicon", model="lexicon-1")
    )


def test_a_prompt_with_mistakes_is_drawn_as_it_was_meant(folder: Path) -> None:
    drawn = draw(folder, GenerateRequest(prompt="pnik hiar, ѕmile", seed=3))
    meant = draw(folder, GenerateRequest(prompt="pink hair, smile", seed=3, raw=True))
    assert drawn.done.metadata["prompt"].endswith("pink hair, smile")
    assert drawn.done.image.tobytes() == meant.done.image.tobytes()
    assert meant.prompt is None


def test_raw_gives_the_text_as_it_is(folder: Path) -> None:
    done = draw(folder, GenerateRequest(prompt="pnik hiar", seed=3, raw=True)).done
    assert done.metadata["prompt"].endswith("pnik hiar")


def test_doubt_offers_readings_instead_of_a_guess() -> None:
    doubtful = Reading(attribute="hair_color", value="red", said="rad", probability=0.5, alternatives=("pink", "brown"))
    sure = Reading(attribute="glasses", value="yes", said="glasses", probability=0.99)
    assert offers(prompt(doubtful, sure)) == ["red hair, glasses", "pink hair, glasses", "brown hair, glasses"]
    assert offers(prompt(doubtful, sure, language="ja"))[1] == "ピンク髪、眼鏡"
    assert offers(prompt(sure)) == []


def test_strict_refuses_what_can_be_read_in_several_ways(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "red hair or pink hair, glasses"
    read = LexiconClient().draft(PromptRequest(text=text))
    assert min(reading.probability for reading in read.attributes) < 0.9
    monkeypatch.setenv("KYARA_PROMPTS_SURE", "0.95")
    settings.cache_clear()
    try:
        with pytest.raises(RequestError, match="several ways") as refused:
            draw(folder, GenerateRequest(prompt=text, seed=1), strict=True)
    finally:
        settings.cache_clear()
    assert "pink hair" in refused.value.hint


def test_describe_names_corrections_and_confidence() -> None:
    draft = LexiconClient().draft(PromptRequest(text="gril with pnik hiar"))
    told = "\n".join(
        describe(
            RobustPrompt(
                request="?", draft=draft, confidence=0.7, provenance=Provenance(client="lexicon", model="lexicon-1")
            )
        )
    )
    assert "'pnik' -> 'pink' (typo)" in told
    assert "0.70" in told


def test_a_model_without_calibration_has_none_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None
    known = Calibration(rates={}, chance={}, weights=(1.0, 0.0, 0.0), bias=0.0, pictures=1)
    (tmp_path / CALIBRATION).write_text(known.model_dump_json(), encoding="utf-8")
    assert read_calibration(tmp_path) == known
    (tmp_path / CALIBRATION).write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=CALIBRATION):
        read_calibration(tmp_path)

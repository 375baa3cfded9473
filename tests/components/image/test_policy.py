"""From free text to a picture: what is read, offered, refused, tried several times and drawn."""

from pathlib import Path

import numpy as np
import pytest

from components.contracts import CALIBRATION, Verdict
from components.errors import ModelError, RequestError
from components.image.generation.request import GenerateRequest
from components.image.generator import ImageGenerator
from components.image.reading import offers
from components.portraits.reader.lexicon import LexiconClient
from components.portraits.reader.plugin import READER
from components.portraits.vocabulary import VOCABULARY
from components.prompting.confidence import Calibration, read_calibration
from components.prompting.schema import Draft, PromptRequest, Provenance, Reading, RobustPrompt
from components.settings import settings
from flows.readings import describe
from tests.promoted import tiny_version


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> ImageGenerator:
    return ImageGenerator.load(tiny_version(tmp_path_factory.mktemp("policy"), "1"), engine="eager")


class Brightness:
    """A judge of one aspect: every second picture that it is shown has it."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def look(self, images: object) -> Verdict:
        self.asked.append(len(images))  # type: ignore[arg-type]
        return Verdict(np.zeros((len(images), 1)))  # type: ignore[arg-type]

    def hits(self, verdict: Verdict, asked: object, *styles: str) -> dict[str, np.ndarray]:
        return {"hair_color": np.arange(len(verdict.features)) % 2.0}


def prompt(*readings: Reading, language: str = "en") -> RobustPrompt:
    draft = Draft(attributes=readings, language=language)
    return RobustPrompt(
        request="?", draft=draft, confidence=0.5, provenance=Provenance(client="lexicon", model="lexicon-1")
    )


def sure(monkeypatch: pytest.MonkeyPatch, **values: float) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"KYARA_PROMPTS_{name.upper()}", str(value))
    settings.cache_clear()


def test_a_prompt_with_mistakes_is_drawn_as_it_was_meant(generator: ImageGenerator) -> None:
    drawn = generator.answer(GenerateRequest(prompt="pnik hiar, ѕmile", seed=3))
    meant = generator.answer(GenerateRequest(prompt="pink hair, smile", seed=3, raw=True))
    assert drawn.metadata["prompt"] == meant.metadata["prompt"] == "kyarachar, pink hair, smile"
    assert 0 < drawn.metadata["confidence"] <= 1 and "confidence" not in meant.metadata


def test_raw_gives_the_text_as_it_is(generator: ImageGenerator) -> None:
    done = generator.answer(GenerateRequest(prompt="pnik hiar", seed=3, raw=True))
    assert done.metadata["prompt"] == "kyarachar, pnik hiar"


def test_doubt_offers_readings_instead_of_a_guess() -> None:
    doubtful = Reading(attribute="hair_color", value="red", said="rad", probability=0.5, alternatives=("pink", "brown"))
    certain = Reading(attribute="glasses", value="yes", said="glasses", probability=0.99)
    found = offers(prompt(doubtful, certain), VOCABULARY)
    assert found == ["red hair, glasses", "pink hair, glasses", "brown hair, glasses"]
    assert offers(prompt(doubtful, certain, language="ja"), VOCABULARY)[1] == "ピンク髪、眼鏡"
    assert offers(prompt(certain), VOCABULARY) == []


def test_strict_refuses_what_can_be_read_in_several_ways(
    generator: ImageGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "red hair or pink hair, glasses"
    read = LexiconClient().draft(PromptRequest(text=text))
    assert min(reading.probability for reading in read.attributes) < 0.9
    sure(monkeypatch, sure=0.95)
    with pytest.raises(RequestError, match="several ways") as refused:
        generator.answer(GenerateRequest(prompt=text, seed=1, strict=True))
    assert "pink hair" in refused.value.hint
    sure(monkeypatch, sure=0.95, unsure=0.95)
    with pytest.raises(RequestError, match="several ways"):
        generator.answer(GenerateRequest(prompt=text, seed=1))


def test_in_between_the_best_of_a_few_is_kept_and_its_seed_gives_it_again(
    generator: ImageGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Brightness()
    monkeypatch.setitem(generator.__dict__, "judge", judge)
    sure(monkeypatch, sure=1.0, unsure=0.0, best_of=3)
    request = GenerateRequest(prompt="pink hair, smile")
    events = list(generator.run(request))
    assert judge.asked == [3] and [event.total for event in events[:-1]] == [12] * 12
    best = events[-1]
    again = generator.answer(request.model_copy(update={"seed": best.metadata["seed"]}))
    assert again.content == best.content and judge.asked == [3], "a seed that is named is drawn once"


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


def test_the_reader_is_a_plug_in(generator: ImageGenerator) -> None:
    assert generator.promoted.card.reader == READER.name == "portraits"

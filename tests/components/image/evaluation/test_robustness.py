"""Robustness: metrics by hand, and conditions over a painter that shows exactly what it can read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from components.contracts import Verdict
from components.image.evaluation.robustness import Artist, Seen, conditions, kept, metrics, too_weak
from components.image.promptset import PromptItem
from components.portraits.reader.plugin import READER
from components.portraits.translations import japanese
from components.portraits.vocabulary import ATTRIBUTES, words
from components.prompting.reader import KINDS
from components.prompting.schema import Draft, Provenance, Reading, RobustPrompt

ASKED = ("hair_color", "hair_style", "background")


def tags(asked: Mapping[str, str]) -> str:
    return ", ".join(words(name, value)[0] for name, value in asked.items())


PROMPTS = [
    PromptItem(tags(asked), asked, seed)
    for seed, asked in enumerate(
        dict(zip(ASKED, (color, style, ground), strict=True))
        for color in ATTRIBUTES["hair_color"]
        for style, ground in zip(("short", "long"), ("blue", "pink"), strict=True)
    )
]


def read(text: str) -> dict[str, str]:
    """Attributes whose English word, or whose part of the Japanese sentence, stands in a text letter by letter."""
    return {
        name: value
        for name in ASKED
        for value in ATTRIBUTES[name]
        if any(word in text for word in (words(name, value)[0], japanese({name: value}).removesuffix("人物")))
    }


class Painter:
    """Paints each attribute as one pixel, whose brightness is the number of its value; what it cannot read is 255."""

    def __init__(self) -> None:
        self.painted: list[tuple[str, int]] = []

    def draw(self, texts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        self.painted += zip(texts, seeds, strict=True)
        return [self._paint(text) for text in texts]

    def _paint(self, text: str) -> Image.Image:
        found = read(text)
        pixels = [ATTRIBUTES[name].index(found[name]) if name in found else 255 for name in ASKED]
        return Image.fromarray(np.array([pixels], np.uint8))

    def look(self, pictures: Sequence[Image.Image]) -> Verdict:
        """As a judge: the brightness of every pixel."""
        return Verdict(np.array([np.asarray(picture)[0] for picture in pictures], np.float64))

    def hits(self, verdict: Verdict, asked: Sequence[Mapping[str, str]], *styles: str) -> dict[str, np.ndarray]:
        wanted = np.array([[ATTRIBUTES[name].index(each[name]) for name in ASKED] for each in asked])
        return {name: np.float64(verdict.features == wanted)[:, place] for place, name in enumerate(ASKED)}


def remembered(text: str) -> RobustPrompt:
    """A generator that guesses nothing: it reads what the painter reads."""
    readings = tuple(Reading(attribute=name, value=value) for name, value in read(text).items())
    provenance = Provenance(client="test", model="1")
    return RobustPrompt(request=text, draft=Draft(attributes=readings), confidence=1.0, provenance=provenance)


@pytest.fixture(scope="module")
def measured() -> tuple[Painter, dict[str, Seen]]:
    painter = Painter()
    asked = conditions(PROMPTS, READER, remembered, lambda prompt: tags(prompt.draft.asked))
    artist = Artist(painter.draw, painter, "lorelei")
    return painter, {name: artist.see(PROMPTS, condition.texts) for name, condition in asked.items()}


def test_what_is_read_letter_by_letter_breaks_under_attack(measured: tuple[Painter, dict[str, Seen]]) -> None:
    _, seen = measured
    found = metrics(seen, resamples=100).values
    assert found["clean"] == 1.0
    assert found["clean_generator.ratio"] == 1.0
    assert found["japanese.ratio"] == 1.0
    for kind in KINDS:
        assert found[f"attacked.{kind}"] < 0.75
    assert found["won_back"] == pytest.approx(0.0, abs=1e-9)
    assert found["recovered"] < 0.75


def test_equal_texts_are_drawn_once(measured: tuple[Painter, dict[str, Seen]]) -> None:
    painter, _ = measured
    assert len(painter.painted) == len(set(painter.painted))


def test_a_reader_that_cannot_attack_or_translate_leaves_those_metrics_out() -> None:
    bare = replace(READER, attack=None, translate=None)
    asked = conditions(PROMPTS, bare, remembered, lambda prompt: tags(prompt.draft.asked))
    assert set(asked) == {"clean", "clean_generator"}
    whole = seen(*[[1.0] * len(PROMPTS)] * len(ASKED))
    found = metrics(dict.fromkeys(asked, whole), resamples=10)
    assert found.values["clean_generator.ratio"] == 1.0
    assert "recovered" not in found.values
    assert too_weak(found) == []


def seen(*rows: Sequence[float]) -> Seen:
    return Seen({name: np.array(row, float) for name, row in zip(ASKED, rows, strict=False)})


def test_kept_counts_pictures_that_lose_nothing() -> None:
    nan = float("nan")
    clean = seen([1, 1, 0, 1], [1, nan, 1, 1])
    changed = seen([1, 0, 0, 1], [1, nan, 1, 0])
    found = kept(clean, changed)
    assert found.value == 0.5
    assert found.low == pytest.approx(0.0676, abs=1e-3)  # Clopper-Pearson, 2 of 4
    assert found.high == pytest.approx(0.9324, abs=1e-3)
    assert kept(clean, clean).high == 1.0


def test_an_attack_that_leaves_most_is_too_weak(measured: tuple[Painter, dict[str, Seen]]) -> None:
    _, before = measured
    assert too_weak(metrics(before, resamples=100)) == []
    unhurt = {**before, "attacked.glyph": before["clean"]}
    assert ["glyph" in problem for problem in too_weak(metrics(unhurt, resamples=100))] == [True]

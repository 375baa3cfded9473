"""A held-out render is sound, a wrong one is not, and what harms the lines harms the figure."""

from typing import ClassVar

import numpy as np
import pytest
from PIL import Image, ImageFilter

from components.portraits.judge import STYLE, Verdict
from components.portraits.lines import distances, gradient_maps, line_maps
from components.portraits.vocabulary import ATTRIBUTES, STYLES, shows
from components.portraits.world.renders import Portrait, render, sample_portraits
from components.portraits.world.soundness import seen_portraits, soundness
from components.statistics import Bootstrap


class Oracle:
    """Stands in for a judge that is always right: what it says was drawn."""

    size = 128
    heads: ClassVar = {**ATTRIBUTES, STYLE: STYLES}


def verdict_of(portraits: list[Portrait]) -> Verdict:
    tables = {
        name: np.array([[float(portrait.attributes.get(name) == value) for value in offered] for portrait in portraits])
        for name, offered in ATTRIBUTES.items()
    }
    attributes = {name: np.asarray(ATTRIBUTES[name])[table.argmax(1)] for name, table in tables.items()}
    styles = np.array([portrait.style for portrait in portraits])
    return Verdict(attributes, tables, styles, np.zeros((len(portraits), 4), np.float32))


@pytest.fixture(scope="module")
def portraits() -> list[Portrait]:
    return sample_portraits(10, 11, ("adventurer", "lorelei"), held_out=True)


@pytest.fixture(scope="module")
def pictures(portraits: list[Portrait]) -> list[Image.Image]:
    return [render(portrait) for portrait in portraits]


def measured(pictures: list[Image.Image], portraits: list[Portrait]) -> float:
    seen = seen_portraits(Oracle(), verdict_of(portraits))  # type: ignore[arg-type]
    found = soundness(line_maps(pictures, 128), seen, candidates=6)
    estimate = found.estimate()
    assert estimate.low <= estimate.value <= estimate.high
    assert found.scores().mean() == pytest.approx(estimate.value)
    return estimate.value


def test_a_render_is_sound_a_blurred_one_less_and_a_wrong_one_not(
    pictures: list[Image.Image], portraits: list[Portrait]
) -> None:
    true = measured(pictures, portraits)
    blurred = measured([picture.filter(ImageFilter.GaussianBlur(2)) for picture in pictures], portraits)
    wrong = measured([*pictures[2:], *pictures[:2]], portraits)
    assert 0.6 < true < 1.4
    assert blurred < true - 0.2
    assert abs(wrong) < 0.5
    assert wrong < true - 0.4


def test_flat_pictures_are_not_sound(portraits: list[Portrait]) -> None:
    flat = [Image.new("RGB", (128, 128), "pink")] * len(portraits)
    assert measured(flat, portraits) < 0.0


def test_lines_are_seen_in_their_direction() -> None:
    upright = np.zeros((1, 128, 128, 3), np.uint8)
    upright[:, :, 64:] = 255
    maps = gradient_maps(upright)[0]
    assert maps.shape == (4, 32, 32)
    across, down, diagonal, other = maps.sum((1, 2))
    assert across > 0.0 == down
    assert diagonal == pytest.approx(other, rel=0.1)


def test_a_shift_of_one_cell_is_forgiven_one_of_three_is_not() -> None:
    pixels = np.zeros((1, 128, 128, 3), np.uint8)
    pixels[:, 40:80, 40:80] = 255
    here, near, far = (gradient_maps(np.roll(pixels, by, axis=2)) for by in (0, 4, 12))
    assert distances(here[0], here)[0] == 0.0
    assert distances(here[0], near)[0] < 1e-6
    assert distances(here[0], far)[0] > 0.3
    assert distances(here[0], np.concatenate([far, near])).argmin() == 1


def test_only_what_the_style_can_show_is_drawn(portraits: list[Portrait]) -> None:
    everything = [Portrait("toon-head", {**portraits[0].attributes, "glasses": "yes", "hair_style": "tied"}, 0)]
    (seen,) = seen_portraits(Oracle(), verdict_of(everything))  # type: ignore[arg-type]
    assert "glasses" not in seen.attributes
    assert all(shows("toon-head", name, value) for name, value in seen.attributes.items())
    render(seen, 16)


def test_the_interval_is_of_the_ratio_of_means() -> None:
    render_, other = np.full(50, 0.3), np.full(50, 0.8)
    half = Bootstrap(50).soundness(np.linspace(0.5, 0.6, 50), render_, other)
    assert half.value == pytest.approx(0.5)
    assert half.low < 0.5 < half.high
    assert Bootstrap(50).soundness(render_, render_, other).value == 1.0
    assert Bootstrap(50).soundness(other, render_, other).value == 0.0

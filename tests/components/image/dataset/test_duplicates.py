"""Copies go, twins stay: measured on renders whose every attribute is known."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from components.image.dataset.duplicates import Look, look, partners
from components.portraits.world.renders import Portrait, render, sample_portraits

DISTANCE = 3
PORTRAITS = sample_portraits(30, 1, ("lorelei", "micah"))
Change = Callable[[Image.Image], Image.Image]


def saved(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=72)
    return Image.open(buffer).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def exposed(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


COPIES: dict[str, Change] = {
    "jpeg": saved,
    **{f"scaled {factor}": lambda image, factor=factor: scaled(image, factor) for factor in (0.6, 0.75, 0.9)},
    **{f"exposed {factor}": lambda image, factor=factor: exposed(image, factor) for factor in (0.97, 1.03)},
    "all at once": lambda image: saved(exposed(scaled(image, 0.7), 1.02)),
}


def flagged(one: Image.Image, other: Image.Image) -> bool:
    return bool(partners([look(one), look(other)], DISTANCE))


def twins(portrait: Portrait, attribute: str, values: tuple[str, str]) -> list[Image.Image]:
    return [render(replace(portrait, attributes={**portrait.attributes, attribute: value})) for value in values]


@pytest.mark.parametrize(
    ("attribute", "values"),
    [("expression", ("smile", "frown")), ("earrings", ("yes", "no")), ("glasses", ("yes", "no"))],
)
def test_a_small_but_real_difference_stays(attribute: str, values: tuple[str, str]) -> None:
    assert sum(flagged(*twins(portrait, attribute, values)) for portrait in PORTRAITS) == 0


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_copies_are_found(change: Change) -> None:
    pictures = [render(portrait) for portrait in PORTRAITS]
    assert sum(flagged(picture, change(picture)) for picture in pictures) >= 29


def test_the_same_drawing_in_other_colours_is_another_picture() -> None:
    original = render(PORTRAITS[0])
    recoloured = Image.fromarray(np.asarray(original)[:, :, ::-1].copy())
    assert not flagged(original, recoloured)


def test_the_first_of_many_stays() -> None:
    generator = np.random.default_rng(0)
    thumb = Image.new("RGB", (64, 64))
    hashes = generator.integers(0, 2**63, 5000).tolist()
    looks = [Look(value, thumb, 512) for value in [*hashes, *(value ^ 0b101 for value in hashes[:50])]]
    assert partners(looks, DISTANCE) == {5000 + place: (place, 2) for place in range(50)}

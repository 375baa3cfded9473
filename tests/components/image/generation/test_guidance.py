"""The guidance that a picture is drawn with, and what it leaves without effect."""

import pytest
from diffusers import UNet2DConditionModel

from components.image.families.bundle import Bundle
from components.image.generation.guidance import Guidance
from components.image.generation.latent import load_variant
from tests.tiny import tiny_model, tiny_sd15


@pytest.fixture(scope="module")
def plain() -> Bundle:
    return load_variant(tiny_model(tiny_sd15()))


@pytest.fixture(scope="module")
def embedding() -> Bundle:
    """A student that was distilled on guidance 3 to 5 as an input."""
    bundle = load_variant(tiny_model(tiny_sd15()))
    bundle.unet = UNet2DConditionModel.from_config({**bundle.unet.config, "time_cond_proj_dim": 256})
    bundle.lcm = {"guidance": 4.0, "guidance_range": [3.0, 5.0]}
    return bundle


@pytest.mark.parametrize(("asked", "scale"), [(None, 1.0), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (7.5, 7.5)])
def test_without_embedding(plain: Bundle, asked: float | None, scale: float) -> None:
    guidance = Guidance.of(plain, asked)
    assert (guidance.scale, guidance.compares) == (scale, scale > 1)


@pytest.mark.parametrize(("asked", "scale"), [(None, 4.0), (4.5, 4.5), (12.0, 5.0), (1.0, 3.0)])
def test_an_embedded_scale_keeps_to_its_range(embedding: Bundle, asked: float | None, scale: float) -> None:
    guidance = Guidance.of(embedding, asked)
    assert (guidance.scale, guidance.compares) == (scale, False)


def test_what_has_no_effect_is_said(plain: Bundle, embedding: Bundle) -> None:
    assert Guidance.of(plain, None).warnings("") == []
    assert Guidance.of(plain, 7.5).warnings("bad hands") == []
    assert "no effect at guidance 1" in Guidance.of(plain, None).warnings("bad hands")[0]
    assert "0.5 was drawn as 1" in Guidance.of(plain, 0.5).warnings("")[0]
    clamped, negative = Guidance.of(embedding, 12.0).warnings("bad hands")
    assert "12 was drawn as 5" in clamped
    assert "built in" in negative

"""Hires fix on a tiny promoted model."""

import numpy as np
import pytest

from components.errors import RequestError
from components.image.generation.modes.upscale import UpscaleRequest
from components.image.generator import GenerateRequest
from components.settings import settings
from tests.components.image.generation.pictures import base64_of, gradient, picture_in, seen


def asked(**fields):
    return UpscaleRequest(**{"prompt": "a girl", "seed": 3, **fields})


def test_a_picture_is_drawn_enlarged_and_drawn_over(tiny_generator):
    *events, done = tiny_generator.run(asked(scale=2))
    assert [(event.done, event.total) for event in events] == [(turn, 8) for turn in range(1, 9)]
    assert picture_in(done).size == (64, 64) == (done.metadata["width"], done.metadata["height"])
    enlarged = picture_in(tiny_generator.answer(asked(scale=2, strength=0)))
    small = picture_in(tiny_generator.answer(GenerateRequest(prompt="a girl", seed=3)))
    assert np.array_equal(np.asarray(small.resize((64, 64), 1)), np.asarray(enlarged))
    assert not np.array_equal(seen(done), np.asarray(enlarged))


def test_a_given_picture_is_enlarged_and_its_sides_rounded(tiny_generator):
    done = tiny_generator.answer(asked(image=base64_of(gradient((30, 21))), scale=1.5))
    assert picture_in(done).size == (48, 32)
    assert "sha256:" in done.metadata["request"]["image"]


def test_too_large_too_dear_or_no_larger(tiny_generator, monkeypatch):
    with pytest.raises(RequestError, match="too large"):
        next(tiny_generator.run(asked(scale=3)))
    with pytest.raises(RequestError, match="scale"):
        asked(scale=1)
    monkeypatch.setenv("KYARA_REQUEST_COST", "19")
    settings.cache_clear()
    with pytest.raises(RequestError, match="costs 20"):
        next(tiny_generator.run(asked(scale=2)))

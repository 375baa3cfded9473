"""Inpainting on a tiny promoted model: what stays stays bit for bit, whatever the sampler, the mask and its edge."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from components.errors import RequestError
from components.image.generation.latent import load_variant, sample
from components.image.generation.modes.inpaint import InpaintRequest
from components.image.generation.schedulers import SCHEDULERS
from components.image.generation.start import Keep
from tests.components.image.generation.pictures import base64_of, noisy, seen
from tests.tiny import tiny_model, tiny_sd15

PICTURE = noisy((32, 32))


def asked(**fields):
    return InpaintRequest(**{"prompt": "a girl", "seed": 3, "image": base64_of(PICTURE), **fields})


def disc():
    rows, columns = np.mgrid[:32, :32]
    return ((rows - 14) ** 2 + (columns - 17) ** 2 < 60).astype(np.uint8) * 255


@pytest.mark.parametrize("strength", [0, 0.3, 0.8, 1.0])
def test_outside_the_mask_nothing_changes(tiny_generator, strength):
    drawn = seen(tiny_generator.answer(asked(box=(5, 6, 21, 19), strength=strength)))
    outside = np.ones((32, 32), bool)
    outside[6:19, 5:21] = False
    assert np.array_equal(drawn[outside], np.asarray(PICTURE)[outside])
    assert not np.array_equal(drawn[~outside], np.asarray(PICTURE)[~outside])


@pytest.mark.parametrize("feather", [0, 3, 8])
def test_a_feathered_edge_lies_inside(tiny_generator, feather):
    mask = disc()
    drawn = seen(tiny_generator.answer(asked(mask=base64_of(Image.fromarray(mask)), feather=feather)))
    assert np.array_equal(drawn[mask == 0], np.asarray(PICTURE)[mask == 0])
    edge = (
        np.abs(drawn - np.asarray(PICTURE).astype(int))[14, 10],
        np.abs(drawn - np.asarray(PICTURE).astype(int))[14, 17],
    )
    assert edge[1].sum() > 0
    if feather:
        sharp = seen(tiny_generator.answer(asked(mask=base64_of(Image.fromarray(mask)))))
        assert not np.array_equal(drawn, sharp)


def test_a_box_is_a_mask(tiny_generator):
    mask = np.zeros((32, 32), np.uint8)
    mask[6:19, 5:21] = 255
    boxed, masked = (
        tiny_generator.answer(asked(**where))
        for where in ({"box": (5, 6, 21, 19)}, {"mask": base64_of(Image.fromarray(mask))})
    )
    assert np.array_equal(seen(boxed), seen(masked))


def test_a_mask_may_be_drawn_as_opacity(tiny_generator):
    layer = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    layer.putalpha(Image.fromarray(disc()))
    plain, clear = (tiny_generator.answer(asked(mask=base64_of(each))) for each in (Image.fromarray(disc()), layer))
    assert np.array_equal(seen(plain), seen(clear))


@pytest.mark.parametrize("kind", ["ddim", *SCHEDULERS])
def test_every_sampler_puts_the_kept_latents_back_after_every_step(kind):
    bundle = load_variant(tiny_model(tiny_sd15()))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    clean, mask = torch.full_like(noise, 0.7), torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 3:6] = 1
    asked_at = []

    def predict(x, t, condition, guidance=None):
        asked_at.append(x)
        return bundle.predict(x, t, condition, guidance)

    with torch.no_grad():
        steps = list(
            sample(
                bundle, bundle.encode_prompts(["a"]), noise=noise, steps=4, guidance=1.0, kind=kind, seeds=[0],
                clean=clean, keep=Keep(mask, clean), predict=predict,
            )
        )  # fmt: skip
    for _, latents in steps:
        torch.testing.assert_close(latents * (1 - mask), clean * (1 - mask))
    # the model is always asked about the kept part at the level of noise that the rest has
    for x in asked_at[1:]:
        outside = (x * (1 - mask)).flatten()
        level = torch.stack([(clean * (1 - mask)).flatten(), (noise * (1 - mask)).flatten()], dim=1)
        rest = outside - level @ torch.linalg.lstsq(level, outside[:, None]).solution[:, 0]
        assert rest.norm() < 1e-3 * outside.norm()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "a mask or a box"),
        ({"box": (0, 0, 4, 4), "mask": "AAAA"}, "a mask or a box"),
        ({"box": (4, 0, 4, 8)}, r"box \[4, 0, 4, 8\] is wrong: expected left < right <= 32"),
        ({"box": (0, 0, 33, 8)}, "right <= 32"),
        ({"box": (0, 0, 8)}, "box"),
        ({"box": (0, 0, -1, 8)}, "box"),
        ({"mask": base64_of(Image.new("L", (16, 32), 255))}, "mask has 16x32 pixels and the picture 32x32"),
        ({"mask": base64_of(Image.new("L", (32, 32), 0))}, "marks nothing"),
        ({"mask": "!!!"}, "mask is no base64"),
        ({"box": (0, 0, 8, 8), "strength": 1.5}, "strength"),
        ({"box": (0, 0, 8, 8), "feather": -1}, "feather"),
    ],
)
def test_wrong_masks_are_named(tiny_generator, fields, said):
    with pytest.raises(RequestError, match=said):
        tiny_generator.answer(asked(**fields))


def test_the_box_is_told(tiny_generator):
    done = tiny_generator.answer(asked(box=(5, 6, 21, 19)))
    assert done.metadata["request"]["box"] == [5, 6, 21, 19] and Image.open(io.BytesIO(done.content)).size == (32, 32)

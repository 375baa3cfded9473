"""Samplers by name: diffusers' own pipelines draw the same pictures, whatever is in the batch."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from components.errors import RequestError
from components.image.generation.latent import load_variant, pictures
from components.image.generation.request import SAMPLERS, GenerateRequest
from components.image.generation.schedulers import SCHEDULERS, choose_sampler
from tests.tiny import tiny_model, tiny_sd15


@pytest.mark.parametrize("v_prediction", [False, True])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_draws_what_diffusers_draws_in_any_batch(name: str, v_prediction: bool) -> None:
    folder = tiny_sd15(v_prediction=v_prediction)
    together = pictures(load_variant(tiny_model(folder)), ["b", "a girl"], [1, 5], steps=5, guidance=3.0, kind=name)
    assert np.abs(_pixels(together[1]) - _diffusers(folder, name)).max() <= 1


def _diffusers(folder: Path, name: str) -> np.ndarray:
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = getattr(diffusers, SCHEDULERS[name]).from_config(pipeline.scheduler.config)
    drawn = pipeline(
        "a girl",
        num_inference_steps=5,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(5),
        height=32,
        width=32,
    ).images
    return _pixels(drawn[0])


def _pixels(image: object) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize(("asked", "name"), [("DPM++ 2M", "dpmpp_2m"), ("euler a", "euler_a"), ("lcm", "lcm")])
def test_samplers_go_by_the_fields_names_too(asked: str, name: str) -> None:
    assert GenerateRequest(prompt="a", sampler=asked).sampler == name


def test_an_unknown_sampler_is_named() -> None:
    with pytest.raises(RequestError, match=r"sampler: 'plms' is wrong.*'unipc'"):
        GenerateRequest(prompt="a", sampler="plms")


def test_a_student_takes_its_own_sampler_only() -> None:
    bundle = load_variant(tiny_model(tiny_sd15()))
    assert [choose_sampler(bundle, name) for name in SAMPLERS if name != "lcm"] == ["ddim", *SCHEDULERS]
    assert choose_sampler(bundle, None) == "dpmpp_2m"
    with pytest.raises(RequestError, match=r"not distilled.*ddim, euler_a"):
        choose_sampler(bundle, "lcm")
    bundle.lcm = {"mode": "lora"}
    assert choose_sampler(bundle, None) == choose_sampler(bundle, "lcm") == "lcm"
    with pytest.raises(RequestError, match="'euler_a' does not fit: this model is distilled"):
        choose_sampler(bundle, "euler_a")

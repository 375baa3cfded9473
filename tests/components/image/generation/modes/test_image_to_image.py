"""Image to image on a tiny promoted model: what strength means for a student and for usual samplers."""

import numpy as np
import pytest
import torch

from components.errors import RequestError
from components.image.generation.canvas import pixels
from components.image.generation.latent import load_variant, sample, steps_from
from components.image.generation.modes.image_to_image import ImageToImageRequest
from components.image.generation.sampler import lcm_grid
from components.image.generation.schedulers import SCHEDULERS
from components.image.generator import GenerateRequest
from tests.components.image.generation.pictures import base64_of, gradient, seen
from tests.tiny import tiny_model, tiny_sd15


def asked(**fields):
    return ImageToImageRequest(**{"prompt": "a girl", "seed": 3, "image": base64_of(gradient()), **fields})


def test_strength_says_how_much_of_the_picture_is_left(tiny_generator):
    through_vae = seen(tiny_generator.answer(asked(strength=0)))
    expected = tiny_generator.bundle.decode_latents(tiny_generator.bundle.encode_images(pixels(gradient())))
    assert np.abs(through_vae - (expected[0].permute(1, 2, 0) * 255).round().numpy().astype(int)).max() <= 1
    far = [np.abs(seen(tiny_generator.answer(asked(strength=each))) - through_vae).mean() for each in (0.1, 0.5, 1.0)]
    assert 0 < far[0] < far[1] < far[2]


def test_full_strength_of_a_zero_snr_model_forgets_the_picture():
    bundle = load_variant(tiny_model(tiny_sd15(v_prediction=True)))
    condition, noise = bundle.encode_prompts(["a"]), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"noise": noise, "steps": 4, "guidance": 1.0, "seeds": [0]}
    *_, (_, plain) = sample(bundle, condition, **options)
    *_, (_, started) = sample(bundle, condition, clean=torch.ones_like(noise), strength=1.0, **options)
    torch.testing.assert_close(started, plain, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["ddim", *SCHEDULERS])
def test_usual_samplers_leave_the_first_steps_out(kind):
    bundle = load_variant(tiny_model(tiny_sd15()))
    condition, clean = bundle.encode_prompts(["a"]), torch.ones(1, 4, 8, 8)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"noise": noise, "steps": 10, "guidance": 1.0, "seeds": [0], "kind": kind, "clean": clean}
    made = {each: list(sample(bundle, condition, strength=each, **options)) for each in (0.1, 0.3, 0.8)}
    assert [len(steps) for steps in made.values()] == [1, 3, 8]
    assert all(len(steps) == steps_from(bundle, 10, kind, each) for each, steps in made.items())
    far = [float((steps[-1][1] - clean).norm()) for steps in made.values()]
    assert far[0] < far[1] < far[2]


def test_a_student_spreads_its_steps_below_the_strength(tiny_generator):
    bundle = tiny_generator.bundle
    assert [steps_from(bundle, 4, "lcm", each) for each in (1.0, 0.3, 0.04, 0.01, 0)] == [4, 4, 2, 1, 0]
    events = list(tiny_generator.run(asked(strength=0.04)))
    assert [(event.done, event.total) for event in events[:-1]] == [(1, 2), (2, 2)]


def test_seeds_and_previews(tiny_generator):
    events = list(tiny_generator.run(asked(strength=0.5), previews=True))
    assert all(event.content for event in events[:-1]) and len(events) == 5
    assert events[-1].content == tiny_generator.answer(asked(strength=0.5)).content
    assert events[-1].content != tiny_generator.answer(asked(strength=0.5, seed=4)).content


def test_the_picture_says_how_it_was_made_and_not_what_from(tiny_generator):
    done = tiny_generator.answer(asked(strength=0.25))
    assert done.metadata["mode"] == "image_to_image" and done.metadata["request"]["strength"] == 0.25
    assert done.metadata["request"]["image"] == asked().image.digest


def test_a_picture_is_drawn_at_its_own_size_or_resized_where_asked(tiny_generator):
    assert seen(tiny_generator.answer(asked(image=base64_of(gradient((64, 32)))))).shape == (32, 64, 3)
    odd = base64_of(gradient((33, 47)))
    with pytest.raises(RequestError, match=r"image has 33x47 pixels: width 33 is wrong"):
        tiny_generator.answer(asked(image=odd))
    assert seen(tiny_generator.answer(asked(image=odd, width=32, height=64))).shape == (64, 32, 3)


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan"), "much"])
def test_strength_lies_between_zero_and_one(strength):
    with pytest.raises(RequestError, match="strength"):
        asked(strength=strength)


def test_only_the_steps_that_are_made_cost(tiny_generator, monkeypatch):
    from components.settings import settings

    monkeypatch.setenv("KYARA_REQUEST_COST", "2")
    settings.cache_clear()
    tiny_generator.answer(asked(strength=0.04))
    with pytest.raises(RequestError, match="costs 4"):
        tiny_generator.answer(asked(strength=0.5))
    with pytest.raises(RequestError, match="costs 4"):
        tiny_generator.answer(GenerateRequest(prompt="a"))


@pytest.mark.parametrize("kind", ["ddim", "lcm", *SCHEDULERS])
def test_draws_what_diffusers_draws(kind):
    """Equal latents, seed and strength give the picture of the plain diffusers pipeline."""
    import diffusers

    folder = tiny_sd15()
    pipeline = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    named = {"ddim": "DDIMScheduler", "lcm": "LCMScheduler", **SCHEDULERS}[kind]
    pipeline.scheduler = getattr(diffusers, named).from_config(pipeline.scheduler.config)
    bundle = load_variant(tiny_model(folder))
    clean = bundle.encode_images(pixels(gradient()))
    # LCM's scheduler counts its own timesteps below the strength; the pipeline would leave steps out once more
    strength, steps, guidance = (1.0, 4, 1.0) if kind == "lcm" else (0.5, 4, 3.0)
    theirs = pipeline(
        "a girl", image=clean, strength=strength, num_inference_steps=steps, guidance_scale=guidance,
        generator=torch.Generator().manual_seed(5), output_type="latent",
    ).images  # fmt: skip
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    *_, (_, ours) = sample(
        bundle, bundle.encode_prompts(["a girl"]), bundle.encode_prompts([""]), noise=noise, steps=steps,
        guidance=None if kind == "lcm" else guidance, kind=kind, seeds=[5], clean=clean, strength=strength,
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(("strength", "steps"), [(0.3, 4), (0.5, 3), (0.9, 8), (1.0, 4), (0.1, 4)])
def test_a_students_timesteps_are_those_of_diffusers(strength, steps):
    from diffusers import LCMScheduler

    bundle = load_variant(tiny_model(tiny_sd15()))
    scheduler = LCMScheduler.from_config(bundle.scheduler_config)
    scheduler.set_timesteps(steps, original_inference_steps=50, strength=strength)
    assert lcm_grid(bundle.schedule, steps, 50, strength).timesteps.tolist() == scheduler.timesteps.tolist()

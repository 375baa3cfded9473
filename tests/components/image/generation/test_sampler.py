"""Closed forms of the samplers, and agreement with diffusers' schedulers."""

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler

from components.errors import RequestError
from components.image.families.schedule import NoiseSchedule
from components.image.generation.sampler import (
    boundary,
    combine,
    consistency,
    ddim_grid,
    ddim_step,
    embed_guidance,
    lcm_grid,
    solver_timesteps,
)

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
EPSILON = {**BETAS, "set_alpha_to_one": False, "steps_offset": 1}
ZERO_SNR = {**BETAS, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_ddim_follows_a_straight_path_to_the_picture():
    """Where the model knows x0 and eps, every step of equation 12 stays on sqrt(a) x0 + sqrt(1 - a) eps."""
    schedule = NoiseSchedule.from_config(ZERO_SNR)
    x0, eps = torch.full((1, 4, 2, 2), 0.7), torch.full((1, 4, 2, 2), -1.3)
    x = eps
    for t, alpha_prev in zip(*ddim_grid(ZERO_SNR, 10), strict=True):
        at = t.view(1)
        v = schedule.target(x0, eps, at)
        x = ddim_step(schedule.x0(v, x, at), schedule.eps(v, x, at), alpha_prev)
        torch.testing.assert_close(x, alpha_prev.sqrt() * x0 + (1 - alpha_prev).sqrt() * eps, rtol=0, atol=1e-5)
    torch.testing.assert_close(x, x0, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [EPSILON, ZERO_SNR])
def test_ddim_equals_diffusers(config):
    reference = DDIMScheduler.from_config(config)
    reference.set_timesteps(20)
    schedule = NoiseSchedule.from_config(config)
    ours = theirs = X
    for t, alpha_prev in zip(*ddim_grid(config, 20), strict=True):
        at = t.expand(2)
        output = torch.sin(ours * 3)
        ours = ddim_step(schedule.x0(output, ours, at), schedule.eps(output, ours, at), alpha_prev)
        theirs = reference.step(output, t, theirs).prev_sample
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("config", [EPSILON, ZERO_SNR])
@pytest.mark.parametrize("steps", [1, 4, 8, 50])
def test_consistency_sampling_equals_diffusers(config, steps):
    known = {key: value for key, value in config.items() if key != "timestep_spacing"}
    reference = LCMScheduler.from_config(known)
    reference.set_timesteps(steps)
    schedule = NoiseSchedule.from_config(config)
    grid = lcm_grid(schedule, steps, 50)
    assert grid.timesteps.tolist() == reference.timesteps.tolist()
    output = torch.sin(X * 3)
    for t, alpha_prev in zip(*grid, strict=True):
        reference._step_index = None
        step = reference.step(output, t, X, generator=torch.Generator().manual_seed(1))
        clean = consistency(schedule, output, X, t.expand(2), 10.0)
        torch.testing.assert_close(clean, step.denoised)
        if t != grid.timesteps[-1]:
            noise = torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
            torch.testing.assert_close(ddim_step(clean, noise, alpha_prev), step.prev_sample)


def test_the_four_step_grid():
    schedule = NoiseSchedule.from_config(EPSILON)
    assert lcm_grid(schedule, 4, 50).timesteps.tolist() == [999, 759, 499, 259]
    served = [999, 679, 499, 259]
    assert lcm_grid(schedule, 4, 50, served=served).timesteps.tolist() == served
    assert lcm_grid(schedule, 2, 50, served=served).timesteps.tolist() == [999, 499], (
        "served ones are of as many steps only"
    )
    assert solver_timesteps(1000, 50)[[0, 1, -1]].tolist() == [19, 39, 999]
    with pytest.raises(RequestError, match="51"):
        lcm_grid(schedule, 51, 50)


def test_boundary_condition():
    """f(x, 0) = x (LCM, equation 6), and at s t = sigma_data both scalings are known."""
    c_skip, c_out = boundary(torch.tensor([0, 5]), 0.1)
    assert c_skip.tolist() == pytest.approx([1.0, 0.5])
    assert c_out.tolist() == pytest.approx([0.0, 0.5**0.5])
    schedule = NoiseSchedule.from_config(ZERO_SNR)
    torch.testing.assert_close(consistency(schedule, torch.randn_like(X), X, torch.zeros(2, dtype=torch.long), 10.0), X)


def test_guidance_embedding_has_the_reference_form():
    """sin and cos of 1000 w times falling frequencies: all 0 and 1 at w = 0 (LCM, section 4.2)."""
    embedded = embed_guidance(torch.tensor([0.0, 3.0]), 8)
    assert embedded[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    angles = 3000.0 * 10000.0 ** (-torch.arange(4) / 3)
    torch.testing.assert_close(embedded[1], torch.cat([angles.sin(), angles.cos()]), rtol=0, atol=1e-3)


def test_guidance_moves_away_from_the_unconditional():
    cond, uncond = torch.tensor([2.0]), torch.tensor([1.0])
    assert combine(cond, uncond, 1.0) == cond
    assert combine(cond, uncond, 4.0) == torch.tensor([5.0])

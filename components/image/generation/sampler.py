"""Samplers as functions of tensors: DDIM (arXiv 2010.02502) and multistep consistency sampling (LCM, arXiv 2310.04378).

Both walk a grid of falling timesteps. They equal diffusers' DDIMScheduler and LCMScheduler where the step count divides
the schedule; elsewhere DDIM lands on the very timestep that the model is asked next, diffusers' one beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from components.errors import RequestError
from components.image.families.schedule import NoiseSchedule

SIGMA_DATA = 0.5


class Grid(NamedTuple):
    """`timesteps` [N] of the model's calls, falling; `alphas_prev` [N]: the a_t that each step ends at."""

    timesteps: Tensor
    alphas_prev: Tensor


def ddim_grid(config: Mapping[str, Any], steps: int) -> Grid:
    """The grid of the base's own scheduler config: its spacing, offset and final alpha."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(dict(config))
    scheduler.set_timesteps(steps)
    alphas_prev = torch.cat([scheduler.alphas_cumprod[scheduler.timesteps[1:]], scheduler.final_alpha_cumprod.view(1)])
    return Grid(scheduler.timesteps, alphas_prev)


def lcm_known(solver_steps: int, strength: float) -> int:
    """How many of the student's timesteps lie below a strength in (0, 1]; at least one."""
    return max(1, round(solver_steps * strength))


def lcm_grid(
    schedule: NoiseSchedule, steps: int, solver_steps: int, strength: float = 1.0, served: Sequence[int] | None = None
) -> Grid:
    """`steps` timesteps spread over the `solver_steps` that the student was distilled on; 4 of 50: 999, 759, 499, 259.

    With a `strength` below 1 over its share of the lowest of them, and no more than those.

    Args:
        served: the timesteps of a whole picture of as many steps as it has, where a student was distilled for these.

    Raises:
        RequestError: more steps than the student knows timesteps.
    """
    if not 1 <= steps <= solver_steps:
        raise RequestError(f"steps {steps} is out of bounds: this distilled model takes 1 to {solver_steps}.")
    known = solver_timesteps(len(schedule), solver_steps)[: lcm_known(solver_steps, strength)].flip(0)
    steps = min(steps, len(known))
    if served is not None and len(served) == steps and strength == 1.0:
        timesteps = torch.tensor(list(served)).clamp(max=len(schedule) - 1)
    else:
        timesteps = known[torch.arange(steps) * len(known) // steps]
    return Grid(timesteps, torch.cat([schedule.alphas[timesteps[1:]], torch.ones(1)]))


def solver_timesteps(length: int, solver_steps: int) -> Tensor:
    """Timesteps of the teacher's solver, rising: k i - 1 for i = 1 … N with k = length // N (LCM, section 4.3)."""
    k = length // solver_steps
    return torch.arange(1, solver_steps + 1) * k - 1


def ddim_step(x0: Tensor, eps: Tensor, alpha_prev: Tensor) -> Tensor:
    """DDIM without added noise (equation 12, sigma = 0): sqrt(a') x0 + sqrt(1 - a') eps; a' broadcasts."""
    return alpha_prev.sqrt() * x0 + (1 - alpha_prev).sqrt() * eps


def boundary(t: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """c_skip and c_out of f = c_skip x_t + c_out x0 (LCM, equation 6; arXiv 2303.01469, appendix C).

    With s = scaling t: c_skip = sigma^2 / (s^2 + sigma^2), c_out = s / sqrt(s^2 + sigma^2); at t = 0 they are 1 and 0.
    """
    s = scaling * t.float()
    return SIGMA_DATA**2 / (s**2 + SIGMA_DATA**2), s / (s**2 + SIGMA_DATA**2).sqrt()


def consistency(schedule: NoiseSchedule, output: Tensor, xt: Tensor, t: Tensor, scaling: float) -> Tensor:
    """f(x_t, t): the student's clean latents from the model's output; all [B, C, h, w], t [B]."""
    c_skip, c_out = (c.view(-1, 1, 1, 1) for c in boundary(t, scaling))
    return c_skip * xt + c_out * schedule.x0(output, xt, t)


def embed_guidance(w: Tensor, dimensions: int) -> Tensor:
    """Sines and cosines [B, dimensions] of the LCM form of guidance, w = scale - 1 (LCM, section 4.2)."""
    half = dimensions // 2
    frequencies = torch.exp(torch.arange(half, device=w.device) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = 1000.0 * w.float()[:, None] * frequencies[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def combine(cond: Tensor, uncond: Tensor, scale: float | Tensor) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598): uncond + scale (cond - uncond); scale 1 is cond alone."""
    return uncond + scale * (cond - uncond)

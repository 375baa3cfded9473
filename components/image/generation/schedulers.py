"""The usual samplers by name, as diffusers' schedulers: for models that are served without distillation."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.errors import RequestError
from components.image.families.bundle import Bundle
from components.image.families.schedule import NoiseSchedule
from components.image.generation.request import SAMPLERS, SamplerName
from components.image.generation.start import FROM_NOISE, Start, mixed

SCHEDULERS: Mapping[str, str] = {
    "euler_a": "EulerAncestralDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""arXiv 2206.00364 (algorithm 2 of k-diffusion, ancestral), 2211.01095, 2302.04867."""


def choose_sampler(bundle: Bundle, asked: SamplerName | None, default: SamplerName = "dpmpp_2m") -> SamplerName:
    """The sampler of a request; `default` is that of a model that is not distilled.

    Raises:
        RequestError: the model cannot be drawn with what was asked.
    """
    if bundle.lcm:
        if asked not in (None, "lcm"):
            raise RequestError(
                f"sampler {asked!r} does not fit: this model is distilled and takes 'lcm' only.", hint="Leave it out."
            )
        return "lcm"
    if asked == "lcm":
        usual = ", ".join(name for name in SAMPLERS if name != "lcm")
        raise RequestError(
            "sampler 'lcm' does not fit: this model is not distilled.", hint=f"Expected one of: {usual}."
        )
    return asked or default


def scheduled(
    name: str,
    config: Mapping[str, Any],
    schedule: NoiseSchedule,
    noise: Tensor,
    steps: int,
    ask: Callable[[Tensor, float], Tensor],
    generators: Sequence[torch.Generator],
    start: Start = FROM_NOISE,
) -> Iterator[tuple[int, Tensor]]:
    """Denoise with a scheduler of `SCHEDULERS`; yields as `sample` does.

    Args:
        config: of the base's own scheduler.
        noise: standard normal latents [B, C, h, w].
        ask: the guided model's output for scaled latents at a timestep, which Euler's grid may put between two.
        generators: one per picture; ancestral samplers draw from them.
        start: where to begin, and what to keep.
    """
    import diffusers

    scheduler: Any = getattr(diffusers, SCHEDULERS[name]).from_config(dict(config))
    scheduler.set_timesteps(steps)
    options = {"generator": list(generators)} if "generator" in inspect.signature(scheduler.step).parameters else {}
    timesteps = scheduler.timesteps[-max(1, round(steps * start.strength)) :]
    x = noise * scheduler.init_noise_sigma
    if start.clean is not None:
        scheduler.set_begin_index(len(scheduler.timesteps) - len(timesteps))
        x = scheduler.add_noise(start.clean, noise, timesteps[:1])
    for done, t in enumerate(timesteps, start=1):
        scaled = scheduler.scale_model_input(x, t)
        output = ask(scaled, t.item())
        x = scheduler.step(output, t, x, return_dict=False, **options)[0]
        last = done == len(timesteps)
        shown = x if last else schedule.x0(output, scaled, t.long().expand(len(x)).to(x.device))
        if start.keep is not None:
            known = start.keep.clean if last else _noised(scheduler, start.keep.clean, noise)
            x, shown = start.keep.put(x, known), start.keep.put(shown, start.keep.clean)
        yield done, shown


def _noised(scheduler: Any, clean: Tensor, noise: Tensor) -> Tensor:
    """Clean latents at the noise level that the scheduler has come to, in its own scaling."""
    sigma = scheduler.sigmas[scheduler.step_index]
    if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):
        alpha, sigma = scheduler._sigma_to_alpha_sigma_t(sigma)
        return mixed(clean, noise, alpha**2)
    noised: Tensor = clean + sigma * noise
    return noised

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
) -> Iterator[tuple[int, Tensor]]:
    """Denoise with a scheduler of `SCHEDULERS`; yields as `sample` does.

    Args:
        config: of the base's own scheduler.
        noise: standard normal latents [B, C, h, w].
        ask: the guided model's output for scaled latents at a timestep, which Euler's grid may put between two.
        generators: one per picture; ancestral samplers draw from them.
    """
    import diffusers

    scheduler: Any = getattr(diffusers, SCHEDULERS[name]).from_config(dict(config))
    scheduler.set_timesteps(steps)
    options = {"generator": list(generators)} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x = noise * scheduler.init_noise_sigma
    for done, t in enumerate(scheduler.timesteps, start=1):
        scaled = scheduler.scale_model_input(x, t)
        output = ask(scaled, t.item())
        x = scheduler.step(output, t, x, return_dict=False, **options)[0]
        if done == len(scheduler.timesteps):
            yield done, x
        else:
            yield done, schedule.x0(output, scaled, t.long().expand(len(x)).to(x.device))

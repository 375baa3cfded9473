"""Paths of the guided teacher's solver, walked beforehand: from noise to picture, and from pictures noised again.

A student at inference sees pure noise first, then its own pictures with fresh noise. So does the teacher here: each
picture is walked once from pure noise, and once from each further timestep that the served student is asked at. Every
point of a path has the same clean end, which is the target of `LCMDistiller.on_paths`. The pictures that are noised
again are the teacher's own at first; once the student draws, they are the student's, so that it learns from the errors
that it will meet (backward distillation, arXiv 2405.05224).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from components.artifact import replacing
from components.contracts import RunLog
from components.image.distillation.lcm import Points, solver_step
from components.image.distillation.students import Student
from components.image.families.bundle import Condition
from components.image.families.schedule import NoiseSchedule
from components.image.generation.sampler import lcm_grid
from components.image.recipe import DistillConfig
from components.training.loop import seed_of

Denoise = Callable[[Tensor, Tensor, Condition, Tensor], Tensor]
"""Clean latents for latents [B, C, h, w] at t [B], a condition and guidance scales [B]."""


@dataclass(frozen=True)
class Paths:
    """Points x_t [M, C, h, w] at t [M] of paths [M]; per path its end [P, C, h, w], guidance scale [P] and prompt [P].

    `first` [M]: whether the point begins its path, as the served student's inputs do.
    """

    xt: Tensor
    t: Tensor
    path: Tensor
    first: Tensor
    end: Tensor
    scale: Tensor
    condition: Condition

    def points(self, count: int, first_share: float, generator: Generator) -> Points:
        """`count` random points; about `first_share` of them begin a path."""
        share = torch.where(self.first, first_share / self.first.sum(), (1 - first_share) / (~self.first).sum())
        rows = torch.multinomial(share, count, replacement=True, generator=generator)
        path = self.path[rows]
        return Points(self.xt[rows], self.t[rows], self.end[path], self.condition[path], self.scale[path])


@dataclass(frozen=True)
class Guide:
    """The guided teacher as a solver over any falling timesteps."""

    student: Student
    schedule: NoiseSchedule
    empty: Condition
    steps: int

    def grid(self, start: int) -> Tensor:
        """Timesteps from `start` down, evenly, as many as its share of `steps`; from the last one it is to the end."""
        count = math.ceil(self.steps * (start + 1) / len(self.schedule))
        return (torch.arange(count, 0, -1) * (start + 1) / count).round().long() - 1

    @torch.no_grad()
    def walk(self, xt: Tensor, start: int, condition: Condition, scale: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Points (t, x_t [B, C, h, w]) from `start` on; the last has t = 0 and is the end."""
        both = Condition.cat([condition, self.empty.beside(condition)])
        grid = self.grid(start).tolist()
        for t, below in zip(grid, [*grid[1:], -1], strict=True):
            yield t, xt
            steps = torch.full((len(xt),), t, device=xt.device)
            cond, uncond = self.student.predict_teacher(torch.cat([xt, xt]), torch.cat([steps, steps]), both).chunk(2)
            alpha_prev = self.schedule.alphas[below] if below >= 0 else torch.ones(())
            xt = solver_step(self.schedule, cond, uncond, xt, steps, alpha_prev.to(xt.device), scale.view(-1, 1, 1, 1))
        yield 0, xt


def walk_paths(
    guide: Guide,
    prompts: Condition,
    shape: Sequence[int],
    config: DistillConfig,
    folder: Path,
    log: RunLog,
    own: Denoise | None = None,
) -> Paths:
    """Walk from pure noise and from noised pictures, for each prompt; parts that `folder` holds are not walked again.

    Args:
        prompts: encoded [N], on the device; shape: of latents (C, h, w).
        own: whose pictures are noised again; default: the teacher's. With the student's, a start's picture is what the
            student makes of the start before, as at inference, and paths from pure noise are taken over.
    """
    grid = lcm_grid(guide.schedule, config.served_steps, config.ddim_steps, served=config.served_timesteps)
    starts = grid.timesteps.tolist()
    parts = []
    for begin in range(0, len(prompts), config.batch_size):
        first = folder / f"{begin:06d}.safetensors"
        file = first if own is None else folder / f"own-{begin:06d}.safetensors"
        condition = prompts[begin : begin + config.batch_size]
        if not file.is_file():
            generator = Generator().manual_seed(seed_of(config.seed, "paths" if own is None else "own paths", begin))
            scale = torch.empty(len(condition)).uniform_(*config.guidance, generator=generator)
            walked = {"scale": scale} if own is None else load_file(first)
            with replacing(file) as temporary:
                save_file(_walk_part(guide, condition, walked, shape, starts, generator, own), temporary)
        parts.append(load_file(file))
        log.progress(begin + len(condition), len(prompts), unit="path")
    return _join(parts, starts, prompts.to("cpu"))


def _walk_part(
    guide: Guide,
    condition: Condition,
    walked: Mapping[str, Tensor],
    shape: Sequence[int],
    starts: Sequence[int],
    generator: Generator,
    own: Denoise | None,
) -> dict[str, Tensor]:
    """`scale` [B]; for each start the points `xt.<start>` [K, B, C, h, w] at `t.<start>` [K], and `end.<start>`.

    `walked` holds the scale, and the paths from pure noise where they are known.
    """
    device = condition.hidden.device
    scale = walked["scale"].to(device)
    made = {"scale": walked["scale"]}
    clean: Tensor | None = None
    for start in starts:
        noise = torch.randn((len(condition), *shape), generator=generator).to(device)
        at = torch.full((len(condition),), start, device=device)
        names = (f"xt.{start}", f"t.{start}", f"end.{start}")
        if clean is None and names[0] in walked:
            made |= {name: walked[name] for name in names}
        else:
            xt = noise if clean is None else guide.schedule.add_noise(clean, noise, at)
            *points, (_, end) = guide.walk(xt, start, condition, scale)
            values = (torch.stack([x for _, x in points]), torch.tensor([t for t, _ in points]), end)
            made |= {name: value.cpu() for name, value in zip(names, values, strict=True)}
        if own is not None:
            clean = own(made[names[0]][0].to(device), at, condition, scale)
        elif clean is None:
            clean = made[names[2]].to(device)
    return made


def _join(parts: Sequence[Mapping[str, Tensor]], starts: Sequence[int], prompts: Condition) -> Paths:
    """Points and paths of all parts, numbered through."""
    xt, t, path, first, end, scale, prompt = [], [], [], [], [], [], []
    paths = pictures = 0
    for part in parts:
        batch = torch.arange(len(part["scale"]))
        for start in starts:
            count = len(part[f"t.{start}"])
            xt.append(part[f"xt.{start}"].flatten(0, 1))
            t.append(part[f"t.{start}"].repeat_interleave(len(batch)))
            path.append((paths + batch).repeat(count))
            first.append((torch.arange(count) == 0).repeat_interleave(len(batch)))
            end.append(part[f"end.{start}"])
            scale.append(part["scale"])
            prompt.append(pictures + batch)
            paths += len(batch)
        pictures += len(batch)
    return Paths(
        torch.cat(xt),
        torch.cat(t),
        torch.cat(path),
        torch.cat(first),
        torch.cat(end),
        torch.cat(scale),
        prompts[torch.cat(prompt)],
    )

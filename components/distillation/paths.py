"""Paths of the guided teacher's solver, walked beforehand: from noise to picture, and from pictures noised again.

A student at inference sees pure noise first, then its own pictures with fresh noise. So does the teacher here: each
picture is walked once from pure noise, and once from each further timestep that the served student is asked at. Every
point of a path has the same clean end, which is the target of `LCMDistiller.on_paths`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from components.artifact import replacing
from components.contracts import RunLog
from components.distillation.lcm import Points, solver_step
from components.distillation.students import Student
from components.families.bundle import Condition
from components.families.schedule import NoiseSchedule
from components.generation.sampler import lcm_grid
from components.recipe import DistillConfig
from components.training.loop import seed_of


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

    def draw(self, count: int, first_share: float, generator: Generator) -> Points:
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
        both = Condition.cat([condition, self.empty.expand(len(xt))])
        grid = self.grid(start).tolist()
        for t, below in zip(grid, [*grid[1:], -1], strict=True):
            yield t, xt
            steps = torch.full((len(xt),), t, device=xt.device)
            cond, uncond = self.student.teach(torch.cat([xt, xt]), torch.cat([steps, steps]), both).chunk(2)
            landing = self.schedule.alphas[below] if below >= 0 else torch.ones(())
            xt = solver_step(self.schedule, cond, uncond, xt, steps, landing.to(xt.device), scale.view(-1, 1, 1, 1))
        yield 0, xt


def walk_paths(
    guide: Guide, prompts: Condition, shape: Sequence[int], config: DistillConfig, folder: Path, log: RunLog
) -> Paths:
    """Walk from pure noise and from noised pictures, for each prompt; parts that `folder` holds are not walked again.

    Args:
        prompts: encoded [N], on the device; shape: of latents (C, h, w).
    """
    starts = lcm_grid(guide.schedule, config.served_steps, config.ddim_steps).timesteps.tolist()
    parts = []
    for begin in range(0, len(prompts), config.batch_size):
        file = folder / f"{begin:06d}.safetensors"
        condition = prompts[begin : begin + config.batch_size]
        if not file.is_file():
            generator = Generator().manual_seed(seed_of(config.seed, "paths", begin))
            with replacing(file) as temporary:
                save_file(_walk_part(guide, condition, shape, starts, config, generator), temporary)
        parts.append(load_file(file))
        log.progress(min(begin + config.batch_size, len(prompts)), len(prompts), unit="path")
    return _join(parts, prompts)


def _walk_part(
    guide: Guide,
    condition: Condition,
    shape: Sequence[int],
    starts: Sequence[int],
    config: DistillConfig,
    generator: Generator,
) -> dict[str, Tensor]:
    """Points in the order they are walked, [K, B, C, h, w]; ends [S, B, C, h, w]; one guidance scale a picture, [B]."""
    count, device = len(condition), condition.hidden.device
    low, high = config.guidance
    scale = low + (high - low) * torch.rand(count, generator=generator)
    points, times, path, first, ends = [], [], [], [], []
    clean = None
    for number, start in enumerate(starts):
        noise = torch.randn((count, *shape), generator=generator).to(device)
        at = torch.full((count,), start, device=device)
        xt = noise if clean is None else guide.schedule.add_noise(clean, noise, at)
        *walked, (_, end) = guide.walk(xt, start, condition, scale.to(device))
        points += [x.cpu() for _, x in walked]
        times += [t for t, _ in walked]
        path += [number] * len(walked)
        first += [True] + [False] * (len(walked) - 1)
        ends.append(end.cpu())
        clean = end if clean is None else clean
    return {
        "xt": torch.stack(points), "t": torch.tensor(times), "path": torch.tensor(path), "first": torch.tensor(first),
        "end": torch.stack(ends), "scale": scale,
    }  # fmt: skip


def _join(parts: Sequence[dict[str, Tensor]], prompts: Condition) -> Paths:
    """Points and paths of all parts, numbered through."""
    xt, t, path, first, end, scale, prompt = [], [], [], [], [], [], []
    paths = pictures = 0
    for part in parts:
        points, count, starts = *part["xt"].shape[:2], len(part["end"])
        xt.append(part["xt"].flatten(0, 1))
        t.append(part["t"].repeat_interleave(count))
        first.append(part["first"].repeat_interleave(count))
        path.append((paths + part["path"][:, None] * count + torch.arange(count)).flatten())
        end.append(part["end"].flatten(0, 1))
        scale.append(part["scale"].repeat(starts))
        prompt.append((pictures + torch.arange(count)).repeat(starts))
        assert len(xt[-1]) == points * count
        paths, pictures = paths + starts * count, pictures + count
    order = torch.cat(prompt)
    return Paths(
        torch.cat(xt),
        torch.cat(t),
        torch.cat(path),
        torch.cat(first),
        torch.cat(end),
        torch.cat(scale),
        prompts[order].to("cpu"),
    )

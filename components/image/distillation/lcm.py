"""Latent consistency distillation (Luo et al., arXiv 2310.04378), as functions of tensors and a class.

A consistency function f(x_t, t) names the clean latents at the end of the teacher's guided probability-flow ODE. Two
lessons teach it; both set f at a point beside what is known further down the same ODE:

one solver step   the paper's: noise the data, let the teacher's guided DDIM go from t to t - k, ask the student there
                  (no gradient). Knowledge travels from t = 0 upwards, one step of the solver at a time.
a whole path      the solver has gone to the end beforehand and its points are kept (`paths.py`); the boundary
                  condition f(x, 0) = x then makes the target the path's end itself. Exact from the first step on,
                  and an update needs no teacher: what a path costs is paid once.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from components.image.distillation.students import Student
from components.image.families.bundle import Condition
from components.image.families.schedule import NoiseSchedule
from components.image.generation.sampler import combine, consistency, ddim_step, solver_timesteps
from components.image.recipe import DistillConfig


def pseudo_huber(value: Tensor, target: Tensor, c: float) -> Tensor:
    """Mean of sqrt(d^2 + c^2) - c: squared error for |d| well below c, absolute above (arXiv 2310.14189, section 3.3).

    Written as d^2 / (sqrt(d^2 + c^2) + c), which keeps small errors apart in float32.
    """
    squared = (value.float() - target.float()).square()
    return (squared / ((squared + c**2).sqrt() + c)).mean()


@dataclass(frozen=True)
class Points:
    """A batch of points of paths: x_t and the clean end [B, C, h, w], t [B], and what the path was drawn with."""

    xt: Tensor
    t: Tensor
    end: Tensor
    condition: Condition
    scale: Tensor

    def to(self, device: torch.device) -> "Points":
        """As Tensor.to."""
        xt, t, end, scale = (value.to(device) for value in (self.xt, self.t, self.end, self.scale))
        return Points(xt, t, end, self.condition.to(device), scale)


@dataclass(frozen=True)
class SolverGrid:
    """The teacher's solver: `timesteps` [N], rising; each step goes down to `timesteps_prev` [N], where a is
    `alphas_prev` [N].

    Step i goes from k (i + 1) - 1 to k i - 1; the lowest one ends at t = 0, where f is the identity (LCM, section 4.3).
    """

    timesteps: Tensor
    timesteps_prev: Tensor
    alphas_prev: Tensor

    @classmethod
    def of(cls, schedule: NoiseSchedule, steps: int) -> "SolverGrid":
        """k = T // steps."""
        timesteps = solver_timesteps(len(schedule), steps)
        previous = (timesteps - len(schedule) // steps).clamp(min=0)
        return cls(timesteps, previous, schedule.alphas[previous])


def solver_step(
    schedule: NoiseSchedule, cond: Tensor, uncond: Tensor, xt: Tensor, t: Tensor, alpha_prev: Tensor, scale: Tensor
) -> Tensor:
    """The guided teacher's DDIM step from x_t to where a = `alpha_prev` (LCM, equations 11 to 14).

    Args:
        cond, uncond: the teacher's outputs in its own parametrisation [B, C, h, w]. Guiding the output equals guiding
            x0 and eps, which are affine in it.
        t: [B]; alpha_prev, scale: [B, 1, 1, 1].
    """
    output = combine(cond, uncond, scale)
    return ddim_step(schedule.x0(output, xt, t), schedule.eps(output, xt, t), alpha_prev)


class LCMDistiller:
    """The student's estimate of the clean latents and its target, both [B, C, h, w]: on cached latents and on paths."""

    def __init__(self, student: Student, schedule: NoiseSchedule, empty: Condition, config: DistillConfig) -> None:
        """`empty`: the encoded empty prompt [1], on the student's device."""
        self.student, self.schedule, self.empty, self.config = student, schedule, empty, config
        self.grid = SolverGrid.of(schedule, config.ddim_steps)

    def on_latents(self, x0: Tensor, condition: Condition, generator: Generator) -> tuple[Tensor, Tensor]:
        """Consistency along one solver step (LCM, Algorithm 1).

        Args:
            x0: clean latents [B, C, h, w]; condition: of their captions.
            generator: CPU; draws noise, timesteps and guidance.
        """
        count, device = len(x0), x0.device
        index = torch.randint(len(self.grid.timesteps), (count,), generator=generator)
        noise = torch.randn(x0.shape, generator=generator).to(device)
        scale = self.guidance(count, generator).to(device)
        t, t_prev = self.grid.timesteps[index].to(device), self.grid.timesteps_prev[index].to(device)
        xt = self.schedule.add_noise(x0, noise, t)
        with torch.no_grad():
            both = Condition.cat([condition, self.empty.beside(condition)])
            cond, uncond = self.student.predict_teacher(torch.cat([xt, xt]), torch.cat([t, t]), both).chunk(2)
            alpha_prev, wide = self.grid.alphas_prev[index].to(device).view(-1, 1, 1, 1), scale.view(-1, 1, 1, 1)
            x_prev = solver_step(self.schedule, cond, uncond, xt, t, alpha_prev, wide)
            target = self._f(self.student.predict_target(x_prev, t_prev, condition, scale), x_prev, t_prev)
        return self._f(self.student.predict(xt, t, condition, scale), xt, t), target

    def on_paths(self, points: Points) -> tuple[Tensor, Tensor]:
        """Consistency with the ends of the teacher's paths."""
        output = self.student.predict(points.xt, points.t, points.condition, points.scale)
        return self._f(output, points.xt, points.t), points.end

    @torch.no_grad()
    def clean(self, xt: Tensor, t: Tensor, condition: Condition, scale: Tensor) -> Tensor:
        """f(x_t, t) of the target network, as a served student draws."""
        return self._f(self.student.predict_target(xt, t, condition, scale), xt, t)

    def guidance(self, count: int, generator: Generator) -> Tensor:
        """Guidance scales [count], uniform in the recipe's range."""
        low, high = self.config.guidance
        return low + (high - low) * torch.rand(count, generator=generator)

    def _f(self, output: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        return consistency(self.schedule, output, xt, t, self.config.timestep_scaling)

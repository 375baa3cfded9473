"""How the three networks of the embedded world are trained: the factory's loop, a budget, an average of the weights."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from components.artifact import write_json
from components.runlog import SilentLog
from components.training.average import Average
from components.training.loop import Loop, Plan
from components.training.schedules import Schedule, one_cycle

M = TypeVar("M", bound=nn.Module)
Loss = Callable[[torch.Generator], Tensor]
_TIMED = 3
_CHECKPOINTS = 60


@dataclass(frozen=True)
class Budget:
    """How long training takes: `steps`, or as many as fit into `minutes` on this machine."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError(f"A budget is either steps or minutes, not steps={self.steps} and minutes={self.minutes}.")

    def in_steps(self, seconds: float) -> int:
        """The budget in steps that take so many seconds each."""
        return self.steps or max(1, round(60.0 * (self.minutes or 0.0) / seconds))


def placed(module: M, device: str) -> M:
    """`module` on `device`, its convolutions channels last (which is what two cores and a GPU like)."""
    module.to(device)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


class Training:
    """Can be killed at any time: `for step in training.steps(loss): ...` goes on from the newest checkpoint.

    Minutes become steps once, by timing a few, and stay what they became: the schedule and every step's randomness
    depend on the step alone, so that a resumed run goes on as if nothing had happened.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        budget: Budget,
        folder: Path,
        *,
        decay: float = 0.999,
        clip: float = 1.0,
        seed: int = 0,
        schedule: Schedule = one_cycle,
    ) -> None:
        self.module, self.optimizers, self.budget, self.folder = module, optimizers, budget, folder
        self.average = Average(module, decay)
        self.clip, self.seed, self.schedule = clip, seed, schedule
        self.step, self.total, self.loss = 0, 1, float("nan")
        self._began = time.monotonic()

    @property
    def progress(self) -> float:
        """Share of the steps that are done."""
        return self.step / self.total

    @property
    def seconds(self) -> float:
        """Since this process began to train."""
        return time.monotonic() - self._began

    def steps(self, loss: Loss) -> Iterator[int]:
        """Train until the budget is spent; yields the steps done. `loss` draws all randomness from its generator."""
        self.total = self._planned(loss)
        plan = Plan(
            steps=self.total,
            checkpoint_every=max(1, self.total // _CHECKPOINTS),
            learning_rate=1.0,
            schedule=self.schedule,
            clip=self.clip,
            seed=self.seed,
        )
        parameters = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        loop = Loop(
            plan, self.module, parameters, self.folder, SilentLog(), fingerprint=_shapes(self.module),
            state=self.average.weights, optimizers=self.optimizers,
        )  # fmt: skip
        self._began = time.monotonic()
        first = True
        for step in loop.steps(
            lambda index, generator: loss(generator), after=lambda: self.average.update(self.module, loop.step + 1)
        ):
            if first:  # what a resume brought along is not of this process
                self._began, first = time.monotonic(), False
            self.step, self.loss = step, loop.recent_loss
            yield step
        self.step = loop.step

    def _planned(self, loss: Loss) -> int:
        """Steps of the whole training, as planned when it began."""
        if self.budget.steps is not None:
            return self.budget.steps
        plan = self.folder / "plan.json"
        planned = _read_steps(plan)
        if planned is None:
            planned = self.budget.in_steps(self._seconds_a_step(loss))
            write_json(plan, {"steps": planned})
        return planned

    def _seconds_a_step(self, loss: Loss) -> float:
        """Of gradients alone, which is nearly all; nothing is changed by it."""
        times = []
        for turn in range(_TIMED + 1):
            started = time.perf_counter()
            loss(torch.Generator().manual_seed(turn)).backward()  # type: ignore[no-untyped-call]
            times.append(time.perf_counter() - started)
        self.module.zero_grad(set_to_none=True)
        return sum(times[1:]) / _TIMED

    def line(self) -> str:
        """One log line: step, loss, time left."""
        left = self.seconds * (1.0 - self.progress) / max(self.progress, 1e-9)
        return f"step {self.step} of {self.total} loss {self.loss:.4f} {left / 60:.1f} min left"


def _shapes(module: nn.Module) -> str:
    """Names and shapes of the weights: a checkpoint of another network is not resumed."""
    text = ";".join(f"{name}{tuple(value.shape)}" for name, value in sorted(module.state_dict().items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _read_steps(plan: Path) -> int | None:
    """Steps that a file {"steps": n} plans; None where nothing readable plans any."""
    try:
        steps = json.loads(plan.read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return steps if isinstance(steps, int) and steps > 0 else None

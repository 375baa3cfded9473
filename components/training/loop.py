"""The training loop: optimizer, learning rate, accumulation, checkpoints, resume, curves. It knows nothing of pictures.

    loop = Loop(plan, model, parameters, out, log, fingerprint=...)
    loop.run(loss, evaluate=...)        # resumes from the newest sound checkpoint in `out`

`loss(index, generator)` gets the number of its micro-batch (0, 1, 2, ... over the whole run) and a CPU generator that
is seeded from (seed, index). All randomness of a step comes from there, so the step number is the whole random state: a
resumed run repeats the uninterrupted one bit for bit on a CPU.
"""

import contextlib
import hashlib
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Generator, Tensor, nn

from components.artifact import write_json
from components.contracts import RunLog
from components.errors import EnvironmentProblem, KyaraError, ModelError
from components.recipe import OptimizationSection
from components.training import checkpoint
from components.training.checkpoint import Checkpoint
from components.training.schedules import Schedule

Loss = Callable[[int, Generator], Tensor]
Evaluate = Callable[[int], Mapping[str, float]]
ROWS = 2000
PRECISIONS = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True)
class Plan:
    """How long, how fast, and when to write checkpoints. A step is an optimizer step."""

    steps: int
    checkpoint_every: int
    learning_rate: float
    keep: int = 2
    warmup_share: float = 0.0
    schedule: Literal["cosine", "constant"] | Schedule = "cosine"
    weight_decay: float = 0.0
    clip: float = 1.0
    accumulation: int = 1
    seed: int = 0
    epoch_steps: int | None = None

    @classmethod
    def of(cls, section: OptimizationSection, steps: int, seed: int, *, epoch_steps: int | None = None) -> "Plan":
        """As a recipe's section says; where an epoch has `epoch_steps`, its checkpoints are counted in epochs."""
        return cls(
            steps, section.checkpoint_every * (epoch_steps or 1), section.learning_rate,
            keep=section.keep_checkpoints, warmup_share=section.warmup_share, schedule=section.schedule,
            weight_decay=section.weight_decay, clip=section.clip, accumulation=section.accumulation, seed=seed,
            epoch_steps=epoch_steps,
        )  # fmt: skip

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: a linear rise, then half a cosine to 0 (arXiv 1608.03983) or no change.

        A schedule of one's own is a factor on the peak, from the first step to the last.
        """
        if callable(self.schedule):
            return self.learning_rate * max(self.schedule(step / self.steps, step), 0.0)
        warmup = round(self.warmup_share * self.steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        if self.schedule == "constant":
            return self.learning_rate
        progress = (step - warmup) / max(self.steps - warmup, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def is_checkpoint(self, step: int) -> bool:
        """Whether a checkpoint is due once `step` steps are done."""
        return step == self.steps or (step > 0 and step % self.checkpoint_every == 0)

    def place(self, step: int) -> dict[str, int]:
        """Where the run is after `step` steps, as the first columns of a row of the training log."""
        epoch = {} if self.epoch_steps is None else {"epoch": math.ceil(step / self.epoch_steps)}
        return {"step": step, **epoch}


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from numbers or words; near inputs give unrelated seeds."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Loop:
    """One run.

    Args:
        plan: steps, rates, checkpoints.
        model: module that is trained or that carries the trained parts; accelerate prepares it in place.
        parameters: what the optimizer changes, by the names they have in checkpoints. float32.
        out: folder of checkpoints and of the record.
        log: told loss, lr and gradient norm.
        fingerprint: what the run depends on; only checkpoints with the same one are resumed.
        state: more tensors that checkpoints hold and resume restores in place (an EMA, say).
        folder: name of a checkpoint after so many steps.
        record: file with all rows, rewritten at each checkpoint.
        optimizers: default AdamW at the plan's rate; their own rates are peaks, by the same schedule.
    """

    def __init__(
        self,
        plan: Plan,
        model: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        out: Path,
        log: RunLog,
        *,
        fingerprint: str,
        state: Mapping[str, Tensor] | None = None,
        folder: Callable[[int], str] = "checkpoint-step-{}".format,
        record: str = "training_log.json",
        optimizers: Sequence[torch.optim.Optimizer] | None = None,
    ) -> None:
        self.plan, self.model, self.out, self.log = plan, model, out, log
        self.parameters, self.state = dict(parameters), dict(state or {})
        self.fingerprint, self.folder, self.record = fingerprint, folder, record
        self.step = 0
        self.rows: list[dict[str, float]] = []
        self.evaluations: list[dict[str, float]] = []
        self._window: list[float] = []
        self._durations: deque[float] = deque(maxlen=100)
        self._quiet_until = 0
        self._saved = -1
        self._updating = False
        own = optimizers or (_adamw(plan, self.parameters.values()),)
        self._accelerator, self._optimizers = _accelerate(plan, model, own)
        self._peaks = [group["lr"] for group in self._groups()]

    def run(
        self,
        loss: Loss,
        *,
        before: Callable[[int], None] | None = None,
        evaluate: Evaluate | None = None,
        after: Callable[[], None] | None = None,
    ) -> None:
        """Train to the end of the plan, from the newest sound checkpoint where there is one. See `steps`."""
        deque(self.steps(loss, before=before, evaluate=evaluate, after=after), maxlen=0)

    def steps(
        self,
        loss: Loss,
        *,
        before: Callable[[int], None] | None = None,
        evaluate: Evaluate | None = None,
        after: Callable[[], None] | None = None,
    ) -> Iterator[int]:
        """As `run`, yielding the number of steps done after each. Closing the iterator saves as an interruption does.

        Args:
            loss: see the module; a scalar with gradient.
            before: called with the number of steps done before each optimizer step; its time is not the step's.
            evaluate: called with the step once its checkpoint is sealed (and again after a resume from there).
            after: called after each optimizer step (to move an EMA).

        Raises:
            ModelError: the loss or the gradient is not finite.
            EnvironmentProblem: GPU memory ran out.
        """
        found = checkpoint.newest(self.out, self.fingerprint, self.log)
        if found is not None:
            self._restore(found)
        try:
            if self.plan.is_checkpoint(self.step):
                self._evaluate(evaluate)
            while self.step < self.plan.steps:
                if before is not None:
                    before(self.step)
                self._advance(loss, after)
                if self.plan.is_checkpoint(self.step):
                    self.save(self.folder(self.step))
                    self._evaluate(evaluate)
                yield self.step
        except BaseException as error:
            self._rescue(error)
            if isinstance(error, torch.OutOfMemoryError):
                raise EnvironmentProblem(
                    f"GPU memory ran out at step {self.step + 1}.",
                    hint="Lower batch_size (raise accumulation to make up for it), or set gradient_checkpointing.",
                ) from error
            raise
        finally:
            # takes the precision wrapper off the model's forward
            self._accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)

    def save(self, name: str) -> None:
        """Seal a checkpoint of this moment, then prune older ones and rewrite the record."""
        tensors: dict[str, Mapping[str, Tensor]] = {"weights": self.parameters, "optimizer": self._moments()}
        if self.state:
            tensors["state"] = self.state
        scaler = self._accelerator.scaler
        state = {
            **self.plan.place(self.step),
            "seed": self.plan.seed,
            "learning_rate": self.plan.rate(self.step),
            "rows": self.rows,
            "evaluations": self.evaluations,
            "window": self._window,
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        checkpoint.write(self.out / name, tensors, state, self.fingerprint)
        self._saved = self.step
        checkpoint.prune(self.out, self.plan.keep)
        self.write_record()

    def write_record(self, **conclusion: Any) -> None:
        """Rewrite the record: {"steps": rows, "evaluations": rows, **conclusion}."""
        write_json(self.out / self.record, {"steps": self.rows, "evaluations": self.evaluations, **conclusion})

    def _advance(self, loss: Loss, after: Callable[[], None] | None) -> None:
        """One optimizer step. `_updating` is set while weights, step number and curves do not belong together."""
        started = time.perf_counter()
        rate = self.plan.rate(self.step)
        for group, peak in zip(self._groups(), self._peaks, strict=True):
            group["lr"] = rate if peak == self.plan.learning_rate else rate * (peak / self.plan.learning_rate)
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        parts = range(self.step * self.plan.accumulation, (self.step + 1) * self.plan.accumulation)
        value = sum(self._backward(loss, index) for index in parts) / len(parts)
        norm = float(self._accelerator.clip_grad_norm_(self.parameters.values(), self.plan.clip))
        self._check(value, norm, rate)
        self._updating = True
        for optimizer in self._optimizers:
            optimizer.step()
        if after is not None:
            after()
        self.step += 1
        row = self._record(value, norm, rate)
        self._updating = False
        if row is not None:
            self.log.metrics(row, self.step)
        self.log.progress(self.step, self.plan.steps, loss=value, lr=rate)
        self._watch(time.perf_counter() - started)

    def _backward(self, loss: Loss, index: int) -> float:
        seed = seed_of(self.plan.seed, index)
        # for modules that draw from torch's own generator (dropout)
        torch.manual_seed(seed)
        with self._accelerator.accumulate(self.model):
            value = loss(index, Generator().manual_seed(seed))
            self._accelerator.backward(value)
        return float(value.detach())

    def _check(self, value: float, norm: float, rate: float) -> None:
        # a gradient scaler (float16) probes for overflow and skips such steps by itself
        if math.isfinite(value) and (math.isfinite(norm) or self._accelerator.scaler is not None):
            return
        kept = f" The checkpoint of step {self._saved} is kept." if self._saved >= 0 else ""
        raise ModelError(
            f"training diverged at step {self.step + 1} of {self.plan.steps}: loss {value:.4g}, "
            f"gradient norm {norm:.4g}, learning rate {rate:.3g}.{kept}",
            hint=f"Lower learning_rate (to {self.plan.learning_rate / 5:.2g}, say), or raise warmup_share.",
        )

    def _record(self, value: float, norm: float, rate: float) -> dict[str, float] | None:
        """Add to the curves; the row, where one is complete (in long runs every few steps, with the mean loss)."""
        self._window.append(value)
        if self.step % max(self.plan.steps // ROWS, 1) and not self.plan.is_checkpoint(self.step):
            return None
        row = {"loss": sum(self._window) / len(self._window), "lr": rate, "grad_norm": norm}
        self.rows.append({**self.plan.place(self.step), **row})
        self._window = []
        return row

    def _watch(self, seconds: float) -> None:
        """Warn of a step five times slower than the median: drivers may move GPU memory to the host without a word."""
        usual = median(self._durations) if len(self._durations) >= 10 else math.inf
        if seconds > max(5 * usual, 0.5) and self.step >= self._quiet_until:
            self._quiet_until = self.step + 100
            on_gpu = self._accelerator.device.type == "cuda"
            cause = "GPU memory spills to the host (lower batch_size)" if on_gpu else "memory is swapped"
            self.log.warn(
                f"step {self.step} took {seconds:.1f} s, {seconds / usual:.0f} times the median of {usual:.2f} s: "
                f"the machine is busy, or {cause}."
            )
        self._durations.append(seconds)

    def _evaluate(self, evaluate: Evaluate | None) -> None:
        if evaluate is None:
            return
        values = dict(evaluate(self.step))
        self.evaluations = [row for row in self.evaluations if row["step"] != self.step]
        self.evaluations.append({**self.plan.place(self.step), **values})
        self.log.metrics(values, self.step)
        self.write_record()

    def _rescue(self, error: BaseException) -> None:
        """Keep what was learned since the last checkpoint, unless the weights are half changed or worthless."""
        if self._updating or isinstance(error, KyaraError) or self.step in (0, self._saved):
            return
        with contextlib.suppress(OSError):
            self.save(checkpoint.INTERRUPTED)
            self.log.message(f"interrupted; step {self.step} is saved, the same command resumes there")

    def _restore(self, found: Checkpoint) -> None:
        """Put weights, optimizer and curves back; tensors are filled in place, so that memory formats stay."""
        with torch.no_grad():
            _fill(self.parameters, found.tensors("weights"))
            self._restore_moments(found.tensors("optimizer"))
            if self.state:
                _fill(self.state, found.tensors("state"))
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(found.state["scaler"])
        self.step = self._saved = found.step
        self.rows, self.evaluations = list(found.state["rows"]), list(found.state["evaluations"])
        self._window = list(found.state["window"])
        self._replay()

    def _replay(self) -> None:
        """Tell the log the curves so far: it may belong to a new run."""
        self.log.message(f"resumes after step {self.step} of {self.plan.steps}")
        for row in (*self.rows, *self.evaluations):
            values = {key: value for key, value in row.items() if key not in ("step", "epoch")}
            self.log.metrics(values, int(row["step"]))

    @property
    def recent_loss(self) -> float:
        """Mean of the losses since the last row of the curves, or that row's; NaN before the first step."""
        rows = [row["loss"] for row in self.rows[-1:]]
        values = self._window or rows
        return sum(values) / len(values) if values else math.nan

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def _moments(self) -> dict[str, Tensor]:
        """What the optimizers remember, as <parameter>.<key>."""
        names = {id(parameter): name for name, parameter in self.parameters.items()}
        moments: dict[str, Tensor] = {}
        for optimizer in self._optimizers:
            for parameter, state in optimizer.state.items():
                moments |= {f"{names[id(parameter)]}.{key}": value for key, value in state.items()}
        return moments

    def _restore_moments(self, moments: Mapping[str, Tensor]) -> None:
        kept: dict[str, dict[str, Tensor]] = {}
        for name, value in moments.items():
            parameter, _, key = name.rpartition(".")
            kept.setdefault(parameter, {})[key] = value
        known = {id(parameter): name for name, parameter in self.parameters.items()}
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    for key, value in kept.get(known[id(parameter)], {}).items():
                        optimizer.state[parameter][key] = _placed(group, parameter, key, value)


def _adamw(plan: Plan, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True)


def _accelerate(plan: Plan, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> tuple[Any, list[Any]]:
    """An Accelerator for the model's device and precision, and the optimizers prepared by it.

    Raises:
        EnvironmentProblem: a launcher started several processes.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:  # callers keep the bare model, so that gradients would never be exchanged
        raise EnvironmentProblem(
            f"training was started in {processes} processes; it runs in one, on one device.",
            hint="Start it without `accelerate launch` or torchrun; choose a GPU with CUDA_VISIBLE_DEVICES.",
        )
    first = next(model.parameters())
    # accelerate allows one precision a process otherwise; another product may have another
    AcceleratorState._reset_state(True)
    accelerator = Accelerator(
        cpu=first.device.type == "cpu",
        mixed_precision=PRECISIONS[first.dtype],
        gradient_accumulation_steps=plan.accumulation,
    )
    prepared = accelerator.prepare_model(model)
    assert prepared is model, "accelerate wraps a model only for several processes"
    return accelerator, [accelerator.prepare_optimizer(optimizer) for optimizer in optimizers]


def _fill(targets: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> None:
    if targets.keys() != sources.keys():
        odd = sorted(targets.keys() ^ sources.keys())
        raise ModelError(f"a checkpoint does not fit the model: {odd[0]!r} and others.", hint="Delete the checkpoint.")
    for name, target in targets.items():
        target.copy_(sources[name])


def _placed(group: Mapping[str, Any], parameter: Tensor, key: str, value: Tensor) -> Tensor:
    """A moment in its parameter's memory format; AdamW counts its steps beside the parameter only where it is fused."""
    if key == "step":
        return value.to(parameter.device if group.get("fused") else torch.device("cpu"))
    return torch.empty_like(parameter).copy_(value)

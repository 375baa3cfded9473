"""The loop on a model of nine numbers: rates, accumulation, resume, damage, divergence."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from components.errors import EnvironmentProblem, ModelError
from components.runlog import SilentLog
from components.training.loop import Loop, Plan, seed_of


class ListLog(SilentLog):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.curves: list[tuple[int | None, dict[str, float]]] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def metrics(self, values, step=None) -> None:
        self.curves.append((step, dict(values)))


class Job:
    """A linear model that learns noise; `fail_at` raises when that micro-batch is asked for."""

    def __init__(self, out: Path, *, fail_at: int | None = None, fingerprint: str = "same", **plan) -> None:
        self.out, self.fail_at, self.log = out, fail_at, ListLog()
        torch.manual_seed(5)
        self.model = nn.Linear(2, 3)
        self.average = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        usual = {"steps": 12, "checkpoint_every": 4, "learning_rate": 0.1, "keep": 2, "warmup_share": 0.25, "seed": 7}
        self.loop = Loop(
            Plan(**{**usual, **plan}),
            self.model,
            dict(self.model.named_parameters()),
            out,
            self.log,
            fingerprint=fingerprint,
            state=self.average,
        )
        self.evaluated: list[int] = []

    def loss(self, index: int, generator: Generator) -> Tensor:
        if index == self.fail_at:
            raise KeyboardInterrupt
        # dropout draws from torch's own generator
        x = nn.functional.dropout(torch.randn(4, 2, generator=generator), 0.5)
        return (self.model(x) - 1).square().mean()

    def after(self) -> None:
        for name, value in self.model.named_parameters():
            self.average[name].lerp_(value.detach(), 0.1)

    def evaluate(self, step: int) -> dict[str, float]:
        self.evaluated.append(step)
        return {"val_loss": float(self.model.weight.detach().square().sum())}

    def run(self, loss: Callable[[int, Generator], Tensor] | None = None) -> "Job":
        self.loop.run(loss or self.loss, evaluate=self.evaluate, after=self.after)
        return self

    def fingerprint(self) -> list[object]:
        tensors = [*self.model.parameters(), *self.average.values()]
        return [*(tensor.tolist() for tensor in tensors), self.loop.rows, self.loop.evaluations]


def folders(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("*checkpoint-*"))


def test_the_rate_rises_then_falls_as_half_a_cosine() -> None:
    plan = Plan(steps=100, checkpoint_every=10, learning_rate=2.0, warmup_share=0.2)
    assert plan.rate(0) == pytest.approx(2 / 21)
    assert plan.rate(19) == pytest.approx(2 * 20 / 21)
    assert plan.rate(20) == 2
    assert plan.rate(60) == pytest.approx(1)
    assert plan.rate(99) == pytest.approx(1 + math.cos(math.pi * 79 / 80))
    assert Plan(steps=9, checkpoint_every=1, learning_rate=3.0, schedule="constant").rate(8) == 3


def test_seeds_of_near_steps_are_unrelated() -> None:
    seeds = {seed_of(seed, step) for seed in range(20) for step in range(50)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_checkpoints_rotate_and_the_last_step_has_one(tmp_path: Path) -> None:
    job = Job(tmp_path, steps=14).run()
    assert job.evaluated == [4, 8, 12, 14]
    assert folders(tmp_path) == ["checkpoint-step-12", "checkpoint-step-14"]
    record = json.loads((tmp_path / "training_log.json").read_text())
    assert [row["step"] for row in record["steps"]] == list(range(1, 15))
    assert [row["step"] for row in record["evaluations"]] == [4, 8, 12, 14]


@pytest.mark.parametrize("fail_at", [1, 5, 8, 11])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path, fail_at: int) -> None:
    whole = Job(tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        Job(tmp_path / "parts", fail_at=fail_at).run()
    resumed = Job(tmp_path / "parts").run()
    assert resumed.fingerprint() == whole.fingerprint()
    assert folders(tmp_path / "parts") == folders(tmp_path / "whole")
    curve = [step for step, values in resumed.log.curves if "lr" in values]
    assert curve == list(range(1, 13)), "the curves start over in the log of the new run"


def test_an_interruption_is_resumed_where_it_happened(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Job(tmp_path, fail_at=6).run()
    assert folders(tmp_path) == ["checkpoint-interrupted", "checkpoint-step-4"]
    asked: list[int] = []
    job = Job(tmp_path)
    job.run(lambda index, generator: (asked.append(index), job.loss(index, generator))[1])
    assert asked == [6, 7, 8, 9, 10, 11]


def test_half_changed_weights_are_not_kept(tmp_path: Path) -> None:
    whole = Job(tmp_path / "whole").run()
    job = Job(tmp_path / "parts")

    def torn() -> None:
        job.after()
        if job.loop.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.loop.run(job.loss, after=torn)
    assert folders(tmp_path / "parts") == ["checkpoint-step-4"]
    assert Job(tmp_path / "parts").run().fingerprint() == whole.fingerprint()


def test_an_evaluation_that_was_cut_off_is_repeated(tmp_path: Path) -> None:
    whole = Job(tmp_path / "whole").run()
    job = Job(tmp_path / "parts")

    def cut(step: int) -> dict[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.loop.run(job.loss, evaluate=cut, after=job.after)
    resumed = Job(tmp_path / "parts").run()
    assert resumed.evaluated == [4, 8, 12]
    assert resumed.fingerprint() == whole.fingerprint()


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_damaged_newest_checkpoint_falls_back(tmp_path: Path, name: str) -> None:
    whole = Job(tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        Job(tmp_path / "parts", fail_at=8).run()
    damaged = tmp_path / "parts" / "checkpoint-step-8" / name
    damaged.write_bytes(damaged.read_bytes()[:-9])
    resumed = Job(tmp_path / "parts").run()
    assert resumed.fingerprint() == whole.fingerprint()
    assert resumed.evaluated == [4, 8, 12]
    assert len(resumed.log.warnings) == 1
    assert "checkpoint-step-8" in resumed.log.warnings[0]


def test_a_checkpoint_of_another_run_is_not_resumed(tmp_path: Path) -> None:
    Job(tmp_path, fingerprint="other").run()
    job = Job(tmp_path).run()
    assert job.evaluated == [4, 8, 12]
    assert len(job.log.warnings) == 2


def test_a_finished_run_does_no_step_again(tmp_path: Path) -> None:
    Job(tmp_path).run()
    again = Job(tmp_path, fail_at=0).run()
    assert again.loop.step == 12
    assert again.evaluated == [12]


def test_accumulation_averages_the_parts(tmp_path: Path) -> None:
    inputs = torch.randn(6, 8, 2, generator=Generator().manual_seed(1))

    def trained(name: str, accumulation: int) -> Tensor:
        job = Job(tmp_path / name, steps=6, accumulation=accumulation)
        parts = inputs.reshape(6 * accumulation, 8 // accumulation, 2)
        job.run(lambda index, _: (job.model(parts[index]) - 1).square().mean())
        return job.model.weight.detach()

    assert torch.allclose(trained("whole", 1), trained("parts", 4), atol=1e-5)


def test_a_diverging_run_stops_with_advice_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    job = Job(tmp_path)
    with pytest.raises(
        ModelError, match=r"diverged at step 7 of 12.*step 4 is kept.*Lower learning_rate \(to 0.02"
    ) as caught:
        job.run(lambda index, generator: job.loss(index, generator) * (math.nan if index == 6 else 1))
    assert caught.value.code == "model"
    assert folders(tmp_path) == ["checkpoint-step-4"]


def test_a_slow_step_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(tmp_path, steps=16)
    now = 0.0
    monkeypatch.setattr("components.training.loop.time.perf_counter", lambda: now)

    def slow(index: int, generator: Generator) -> Tensor:
        nonlocal now
        now += 0.6 if index == 13 else 0.01
        return job.loss(index, generator)

    job.run(slow)
    assert job.log.warnings == [
        "step 14 took 0.6 s, 60 times the median of 0.01 s: the machine is busy, or memory is swapped."
    ]


def test_long_runs_keep_a_row_every_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.training.loop.ROWS", 4)
    whole = Job(tmp_path / "whole").run()
    assert [row["step"] for row in whole.loop.rows] == [3, 4, 6, 8, 9, 12]
    with pytest.raises(KeyboardInterrupt):
        Job(tmp_path / "parts", fail_at=5).run()
    assert Job(tmp_path / "parts").run().fingerprint() == whole.fingerprint()


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EnvironmentProblem, match=r"2 processes; it runs in one.*without `accelerate launch`"):
        Job(tmp_path)

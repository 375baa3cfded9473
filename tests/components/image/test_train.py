"""The train stage: the loss in closed form, whole trainings of tiny models, and kill -9."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file

from components.errors import ModelError
from components.image.families.schedule import NoiseSchedule
from components.image.recipe import TrainConfig, TrainSection
from components.image.train import choose, denoising_loss, min_snr_weight, quantile, timesteps, train
from components.portraits.vocabulary import ATTRIBUTES, DEMO_STYLE, shows, values
from components.runlog import SilentLog
from tests.tiny import tiny_dataset, tiny_judge, tiny_model, tiny_prompts, tiny_sd15, tiny_sdxl

ALPHAS = torch.tensor([0.9, 0.5, 0.1, 0.0])
SNR = (9.0, 1.0, 1 / 9, 0.0)


@pytest.mark.parametrize(
    ("prediction", "weights"),
    [
        ("epsilon", (5 / 9, 1, 1, 1)),
        ("v_prediction", (6 / 10, 1, 1, 1)),
        ("sample", (5, 1, 1 / 9, 0)),
    ],
)
def test_min_snr_weights(prediction: str, weights: tuple[float, ...]) -> None:
    found = min_snr_weight(NoiseSchedule(ALPHAS, prediction), torch.arange(4), gamma=5.0)
    assert found.tolist() == pytest.approx(weights)


def test_weighted_losses_of_all_targets_are_one_loss() -> None:
    """An error in x0 costs the same however the model says it: that is what the weights are for. v's is one more."""
    t, shape = torch.tensor([0, 1, 2]), (3, 1, 2, 2)
    x0, noise, off = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    losses = []
    for prediction in ("epsilon", "v_prediction", "sample"):
        schedule = NoiseSchedule(ALPHAS[:3], prediction)
        xt = schedule.add_noise(x0, noise, t)
        a = schedule.at(t, x0)
        wrong_x0 = x0 + off
        wrong_noise = (xt - a.sqrt() * wrong_x0) / (1 - a).sqrt()
        output = schedule.target(wrong_x0, wrong_noise, t)
        losses.append(float(denoising_loss(schedule, output, x0, noise, t, gamma=5.0)))
    weights, errors = torch.tensor(SNR[:3]).clamp(max=5), off.square().mean(dim=(1, 2, 3))
    expected, of_v = float((errors * weights).mean()), float((errors * (weights + 1)).mean())
    assert losses == pytest.approx([expected, of_v, expected], rel=1e-4)


def test_without_gamma_it_is_the_mean_squared_error() -> None:
    schedule = NoiseSchedule(ALPHAS, "v_prediction")
    x0, noise, t = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2), torch.tensor([1, 3])
    target = schedule.target(x0, noise, t)
    assert float(denoising_loss(schedule, target + 3, x0, noise, t, None)) == pytest.approx(9)
    assert float(denoising_loss(schedule, target, x0, noise, t, None)) == 0


def test_timesteps_spread_over_the_schedule() -> None:
    drawn = torch.stack([timesteps(10, 1000, torch.Generator().manual_seed(seed)) for seed in range(200)])
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    gaps = drawn.sort(dim=1).values.diff(dim=1)
    assert gaps.min() >= 99
    assert gaps.max() <= 101
    assert drawn[:, 0].float().std() > 250, "each one alone may be anywhere"


def test_densities_of_timesteps() -> None:
    u = (torch.arange(1000) + 0.5) / 1000
    assert torch.equal(quantile(u, "uniform"), u)
    assert quantile(u, (1.0, 1.0, 1.0)).tolist() == pytest.approx(u.tolist(), abs=1e-6)
    normal = quantile(u, "logit_normal").logit()
    assert (float(normal.mean()), float(normal.std())) == pytest.approx((0, 1), abs=0.01)
    parts = (quantile(u, (1.0, 0.0, 3.0)) * 3).long().bincount(minlength=3)
    assert parts.tolist() == [250, 0, 750]
    late = timesteps(8, 1000, torch.Generator().manual_seed(0), (0.0, 1.0))
    assert late.min() >= 500
    assert late.max() <= 999


@pytest.mark.parametrize("wrong", [(), (0.0, 0.0), (1.0, -1.0), "cosine"])
def test_wrong_densities_are_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match="timesteps"):
        TrainSection.model_validate({"timesteps": wrong})


def test_outside_its_mask_a_picture_costs_nothing() -> None:
    schedule = NoiseSchedule(ALPHAS, "sample")
    x0, t, mask = torch.zeros(2, 3, 2, 2), torch.tensor([1, 2]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    wrong = torch.full((2, 3, 2, 2), 7.0)
    wrong[..., 0, 0] = 2.0
    weights = mask.expand(2, 1, 2, 2)
    assert float(denoising_loss(schedule, wrong, x0, x0, t, None, weights)) == pytest.approx(4)
    half = 0.5 + 0.5 * weights
    assert float(denoising_loss(schedule, wrong, x0, x0, t, None, half)) == pytest.approx((4 + 0.5 * 3 * 49) / 2.5)


def test_the_best_is_chosen_not_the_last() -> None:
    rows = [{"step": 1, "val_loss": 0.3}, {"step": 2, "val_loss": 0.2}, {"step": 3, "val_loss": 0.4}]
    best, reason = choose(rows)
    assert best["step"] == 2
    assert reason.startswith("lowest validation loss (0.2000")
    scored = [{**row, "score": score} for row, score in zip(rows, (0.9, 0.7, 0.9), strict=True)]
    best, reason = choose(scored)
    assert best["step"] == 1, "of equal scores the lower validation loss"
    assert "score" in reason


def config(base: Path, **changes: object) -> TrainConfig:
    usual: dict[str, object] = {
        "model": tiny_model(base),
        "epochs": 4,
        "batch_size": 4,
        "checkpoint_every": 2,
        "trigger": "kyarachar",
        "rank": 4,
        "alpha": 2,
        "learning_rate": 5e-3,
        "samples": 2,
        "sample_steps": 2,
    }
    return TrainConfig.model_validate({**usual, **changes})


def inputs(folder: Path, base: Path) -> dict[str, Path]:
    return {"dataset": tiny_dataset(folder / "dataset", base), "prompts": tiny_prompts(folder / "prompts")}


def digest(out: Path) -> str:
    """Of the adapter and the whole record."""
    files = (out / "anime-lora-final" / "adapter_model.safetensors", out / "training_log.json")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_training_leaves_what_it_promises(tmp_path: Path, family: str) -> None:
    base = tiny_sdxl() if family == "sdxl" else tiny_sd15(v_prediction=True)
    out = tmp_path / "out"
    train(config(base, targets="all", accumulation=2), inputs(tmp_path, base), out, SilentLog())
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        *("adapters", "anime-lora-final", "checkpoint-epoch-2", "checkpoint-epoch-4"),
        *("curves.png", "samples", "training_log.json"),
    ]
    record = json.loads((out / "training_log.json").read_text())
    assert [row["epoch"] for row in record["steps"]] == [1, 2, 3, 4]
    assert [row["epoch"] for row in record["evaluations"]] == [2, 4]
    assert record["chosen"]["val_loss"] == min(row["val_loss"] for row in record["evaluations"])
    with Image.open(out / "samples" / "epoch-4.png") as grid:
        assert grid.size == (64, 32)


def test_again_the_same_bytes_whatever_is_drawn_or_saved(tmp_path: Path) -> None:
    base = tiny_sd15()
    given = {"dataset": tiny_dataset(tmp_path / "dataset", base)}
    train(config(base, epochs=2, samples=0), given, tmp_path / "one", SilentLog())
    train(config(base, epochs=2, samples=3, gradient_checkpointing=True), given, tmp_path / "two", SilentLog())
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert (tmp_path / "two" / "samples" / "epoch-2.png").is_file(), "drawn from captions where there are no prompts"


def test_the_judge_chooses_among_pictures_of_the_select_set(tmp_path: Path) -> None:
    base, judge = tiny_sd15(), tiny_judge(tmp_path / "judge")
    attribute = next(name for name in ATTRIBUTES if shows(DEMO_STYLE, name))
    prompts = tiny_prompts(tmp_path / "prompts", attributes={attribute: values(DEMO_STYLE, attribute)[0]})
    given = {"dataset": tiny_dataset(tmp_path / "dataset", base), "prompts": prompts, "judge": judge}
    asked = {"plugin": "portraits", "folder": str(judge), "style": DEMO_STYLE}
    judged = config(base, epochs=2, checkpoint_every=1, select_prompts=4, prompts="prompts", judge=asked)
    train(judged, given, tmp_path / "out", SilentLog())
    record = json.loads((tmp_path / "out" / "training_log.json").read_text())
    assert "select set" in record["chosen"]["reason"]
    for row in record["evaluations"]:
        assert row["score"] == pytest.approx(row["adherence"] * row["style"])


def test_bfloat16_trains_and_certifies(tmp_path: Path) -> None:
    base = tiny_sd15(v_prediction=True)
    half = tiny_model(base).model_copy(update={"dtype": "bfloat16"})
    exact = config(base, model=half, epochs=2, samples=0, export_dtype="float32")
    train(exact, inputs(tmp_path, base), tmp_path / "out", SilentLog())
    weights = load_file(tmp_path / "out" / "anime-lora-final" / "adapter_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    record = json.loads((tmp_path / "out" / "training_log.json").read_text())
    assert record["steps"][-1]["loss"] < 10


def test_a_wild_learning_rate_is_a_clear_error(tmp_path: Path) -> None:
    base = tiny_sd15()
    with pytest.raises(ModelError, match=r"diverged at step.*Lower learning_rate"):
        train(config(base, learning_rate=1e18, epochs=8), inputs(tmp_path, base), tmp_path / "out", SilentLog())


# Imports once, then forks a child per run: all train in one folder, each resumes what the one before left.
DRIVER = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from components import artifact
from components.runlog import SilentLog
from components.image import train as image
from tests.components.image import test_train as test
from tests.tiny import tiny_sd15

folder = Path(sys.argv[1])
base = tiny_sd15()
config, given = test.config(base, epochs=6, samples=0), test.inputs(folder, base)

class Killer(SilentLog):
    def __init__(self, step=None): self.step = step
    def progress(self, done, total, *, unit="step", **fields):
        if unit == "step" and done == self.step: die()

def die(): os.kill(os.getpid(), signal.SIGKILL)

def kill_at_replace(number):
    real, count = os.replace, 0
    def replace(*args):
        nonlocal count
        count += 1
        if count == number: die()
        real(*args)
    artifact.os.replace = replace

def child(out, log, replace=None):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if replace: kill_at_replace(replace)
            image.train(config, given, out, log)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

assert child(folder / "whole", SilentLog()) == 0
out = folder / "killed"
out.mkdir()
for point in sys.argv[2:]:
    kind, number = point.split(":")
    code = child(out, Killer(int(number))) if kind == "step" else child(out, SilentLog(), int(number))
    print(point, code, sorted(path.name for path in out.iterdir() if path.name.startswith("checkpoint")))
assert child(out, SilentLog()) == 0
leftovers = [path.name for path in out.iterdir() if path.name.startswith(".")]
print(test.digest(out) == test.digest(folder / "whole"), leftovers)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 is a matter of POSIX")
def test_kill_9_anywhere_changes_nothing(tmp_path: Path) -> None:
    """A run of 12 steps (checkpoints after 4, 8, 12) killed six times; `replace:n` dies before the n-th rename."""
    killed = {
        "step:3": [],  # in the middle of an epoch
        "replace:2": [],  # inside the first checkpoint, before its manifest
        "replace:3": [],  # before its rename
        "replace:4": ["checkpoint-epoch-2"],  # after it, before it is evaluated
        "step:9": ["checkpoint-epoch-2", "checkpoint-epoch-4"],
        "replace:12": ["checkpoint-epoch-2", "checkpoint-epoch-4", "checkpoint-epoch-6"],  # inside the export
    }
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DRIVER, str(tmp_path), *killed]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [*(f"{point} -9 {left}" for point, left in killed.items()), "True []"]

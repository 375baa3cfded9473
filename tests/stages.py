"""Stages that compute nothing but behave: they log, resume, fail on request. For tests of what runs stages.

`prompts` names a JSON file of the metrics that are "measured".
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from components import modalities
from components.contracts import Modality, RunLog
from components.errors import KyaraError

Make = Callable[..., Any]
"""The fixture `make` of tests/flows: metrics and a seed -> a Promotion."""

GOOD = {
    "lcm4.adherence": 0.90,
    "lcm4.adherence.interval": [0.88, 0.92],
    "lcm4.style": 0.95,
    "lcm4.style.interval": [0.93, 0.97],
    "lora.style": 0.97,
    "lora.copying": 0.0,
    "fidelity.adherence_ratio": 0.98,
    "fidelity.similarity": 0.9,
    "judge.digest": "judge-1",
    "prompts.digest": "prompts-1",
}


THRESHOLDS = {
    "lora.style": {"min": 0.9},
    "lora.copying": {"max": 0.05},
    "fidelity.adherence_ratio": {"min": 0.9},
    "fidelity.similarity": {"min": 0.1},
}


class Flaky(KyaraError):
    retryable = True


def dataset(_config: Any, _inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    log.message("looking")
    (out / "summary.json").write_text('{"files": 3, "kept": 2, "dropped": {"corrupt": 1}}', encoding="utf-8")


def train(config: Any, _inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    """One file a step. KYARA_TEST_FAIL: flaky fails once, broken always, slow takes a minute."""
    wish = os.environ.get("KYARA_TEST_FAIL")
    if wish == "broken" or (wish == "flaky" and not (out / "tried").exists()):
        (out / "tried").touch()
        raise (Flaky if wish == "flaky" else KyaraError)("it went wrong.", hint="As it was told to.")
    first = len(list(out.glob("step-*")))
    log.message(f"from step {first}")
    for step in range(first, config.epochs):
        (out / f"step-{step}").touch()
        log.progress(step + 1, config.epochs, loss=1 / (step + 1))
        log.metrics({"loss": 1 / (step + 1)}, step=step)
        if wish == "slow":
            time.sleep(0.1)
    _write(out / "anime-lora-final" / "metadata.json", {"license": "CC0-1.0", "seed": config.seed})


def distill(_config: Any, _inputs: Mapping[str, Path], out: Path, _log: RunLog) -> None:
    _write(out / "lcm_distilled_model" / "metadata.json", {"mode": "lora", "steps": 4})


def evaluate(_config: Any, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    assert (inputs["train"] / "anime-lora-final").is_dir() and (inputs["distill"] / "lcm_distilled_model").is_dir()
    shutil.copyfile(inputs["prompts"], out / "metrics.json")
    log.table("rows", [{"variant": "lora", "style": 0.97}])


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put these stages into the table for one test."""
    names = ("dataset", "train", "distill", "evaluate")
    row = Modality(
        name="image",
        recipe="components.image.recipe:ImageRecipe",
        stages=MappingProxyType({name: f"tests.stages:{name}" for name in names}),
        product="components.image.product",
    )
    monkeypatch.setattr(modalities, "MODALITIES", MappingProxyType({"image": row}))


def write_recipe(folder: Path, name: str, metrics: Mapping[str, Any] | None = None, **sections: Any) -> Path:
    """A recipe whose evaluation finds `metrics`."""
    _write(folder / "metrics.json", {**GOOD, **(metrics or {})})
    (folder / "pictures").mkdir(exist_ok=True)
    recipe = {
        "name": name,
        "trigger": "kyarachar",
        "model": {"base": "nobody/nothing"},
        "prompts": str(folder / "metrics.json"),
        "dataset": {"source": str(folder / "pictures")},
        "train": {"epochs": 20},
        "promote": {"thresholds": THRESHOLDS, "compare": ["lcm4.adherence", "lcm4.style"]},
        **sections,
    }
    file = folder / f"{name}.yaml"
    # JSON is YAML.
    _write(file, recipe)
    return file


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")

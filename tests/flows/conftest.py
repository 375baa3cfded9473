"""What tests of promoting share: a recipe of their own, made by stages that compute nothing."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from components import tracking
from components.modalities import stage_names
from components.runlog import SilentLog
from components.runner import run_stage, stage_folder
from flows.promote import Promotion, promote
from flows.stage import open_recipe
from tests import stages
from tests.stages import Make


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """One registered model a test: the registry is the session's."""
    return re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")


@pytest.fixture
def make(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Run the stages with these metrics and promote; a new `seed` is a new model."""
    stages.install(monkeypatch)

    def produce(metrics: Mapping[str, Any] | None = None, *, seed: int = 0, **sections: Any) -> Promotion:
        recipe = open_recipe(str(stages.write_recipe(tmp_path, name, metrics, seed=seed, **sections)))
        for stage in stage_names(recipe):
            run_stage(recipe, stage, SilentLog())
        run = tracking.start_run(name, "product", {})
        tracking.MlflowLog(run).file(stage_folder(recipe, "evaluate") / "metrics.json")
        return promote(recipe, run, {"kyara.run_id": "20250101_000000_abcd"}, SilentLog())

    return produce

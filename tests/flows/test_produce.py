"""The flow with stages that compute nothing: what is tracked, skipped, retried, cancelled and cleaned up."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from components import tracking
from components.errors import EnvironmentProblem, GateRefused, KyaraError
from components.settings import settings
from flows import produce as produce_module
from flows.foreground import produce_here
from flows.heartbeat import reconcile, refuse_if_busy, this_process
from flows.runs import PATTERN
from tests import stages

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def recipe(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One product a test: the registry is the session's. Bentos are tested with real models."""
    stages.install(monkeypatch)
    steps = produce_module._steps
    monkeypatch.setattr(
        produce_module, "_steps", lambda recipe: [each for each in steps(recipe) if each[0] != "package"]
    )
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    return stages.write_recipe(tmp_path, name)


@pytest.fixture
def prefect(prefect_server: None) -> Iterator[Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


def flow_runs(prefect: Any, recipe: Path) -> list[Any]:
    runs = prefect.read_flow_runs(limit=200)
    mine = [run for run in runs if run.parameters.get("recipe") == str(recipe)]
    return sorted(mine, key=lambda run: run.created)


def task_states(prefect: Any, flow_run_id: Any) -> dict[str, str]:
    """Final state names by task; the server records them a moment after the run's end."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    for _ in range(100):
        runs = prefect.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
        if runs and all(run.state is not None and run.state.is_final() for run in runs):
            break
        time.sleep(0.1)
    return {run.name: run.state.name for run in runs}


def mlflow_runs(recipe: Path) -> dict[str, Any]:
    """The newest run of each stage, the product's own under `produce`."""
    client = tracking.connect()
    experiment = client.get_experiment_by_name(recipe.stem)
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return {run.data.tags["kyara.stage"]: run for run in found}


def test_a_product_is_tracked_from_end_to_end_and_not_made_twice(recipe: Path, prefect: Any) -> None:
    first = produce_here(str(recipe), {"train": {"rank": 3}})
    assert PATTERN.fullmatch(first["run_id"]) and not any(first["skipped"].values())
    assert first["seconds.pipeline"] == pytest.approx(
        first["seconds.orchestration"] + sum(first[f"seconds.{name}"] for name in first["skipped"]), abs=0.02
    )
    _check_files(first)
    (flow_run,) = flow_runs(prefect, recipe)
    assert flow_run.name == first["run_id"] and str(flow_run.id) == first["prefect.flow_run_id"]
    assert flow_run.state.name == "Completed"
    assert set(task_states(prefect, flow_run.id).values()) == {"Completed"}
    _check_mlflow(recipe, first)

    second = produce_here(str(recipe), {"train": {"rank": 3}})
    assert all(second["skipped"].values()) and second["mlflow.model_version"] == first["mlflow.model_version"] == "1"
    assert set(task_states(prefect, second["prefect.flow_run_id"]).values()) == {"Skipped"}
    assert {run.data.tags.get("kyara.skipped") for run in mlflow_runs(recipe).values()} == {"true", None}


def _check_files(result: dict[str, Any]) -> None:
    folder = settings().runs / result["run_id"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["train"]["rank"] == 3 and config["distill"]["ddim_steps"] == 50
    assert json.loads((folder / "result.json").read_text(encoding="utf-8"))["run_id"] == result["run_id"]
    assert not (folder / "heartbeat.json").exists()
    log = (settings().logs / f"train_{result['run_id']}.log").read_text(encoding="utf-8")
    assert "dataset: looking" in log and "train: from step 0" in log and "promote: version 1 is the champion" in log


def _check_mlflow(recipe: Path, result: dict[str, Any]) -> None:
    runs = mlflow_runs(recipe)
    assert set(runs) == {"produce", "dataset", "train", "distill", "evaluate", "promote"}
    parent = runs.pop("produce")
    assert parent.info.run_id == result["mlflow.run_id"] and parent.info.run_name == result["run_id"]
    assert parent.data.metrics["lcm4.adherence"] == 0.9 and "seconds.pipeline" in parent.data.metrics
    assert parent.data.params["train.rank"] == "3" and parent.data.params["model.base"] == "nobody/nothing"
    assert parent.data.params["judge.digest"] == "judge-1"
    for run in (parent, *runs.values()):
        assert run.info.status == "FINISHED"
        assert run.data.tags["prefect.flow_run_id"] == result["prefect.flow_run_id"]
        assert run.data.tags["kyara.run_id"] == result["run_id"]
        assert run.data.tags.get("dvc.digest") == tracking.data_digest()
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert runs["train"].data.metrics["loss"] == pytest.approx(1 / 20)
    assert tracking.read_artifact(runs["evaluate"].info.run_id, "rows.json")


def test_a_retryable_error_is_retried_and_another_is_not(
    recipe: Path, prefect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(produce_module, "RETRY_SECONDS", 0)
    monkeypatch.setenv("KYARA_TEST_FAIL", "flaky")
    assert produce_here(str(recipe))["skipped"]["train"] is False
    monkeypatch.setenv("KYARA_TEST_FAIL", "broken")
    with pytest.raises(KyaraError, match=r"it went wrong. As it was told to."):
        produce_here(str(recipe), {"train": {"rank": 2}})
    last = flow_runs(prefect, recipe)[-1]
    assert last.state.name == "Failed" and task_states(prefect, last.id)["train"] == "Failed"
    runs = mlflow_runs(recipe)
    assert (runs["produce"].info.status, runs["train"].info.status) == ("FAILED", "FAILED")
    retried = [run for run in prefect.read_task_runs(limit=200) if run.run_count > 1]
    assert [run.name for run in retried] == ["train"]


def test_a_refused_model_fails_the_run_with_the_figures(recipe: Path, prefect: Any) -> None:
    stages.write_recipe(recipe.parent, recipe.stem, {"lora.style": 0.1})
    with pytest.raises(GateRefused, match=r"lora.style is 0.1"):
        produce_here(str(recipe))
    assert "lora.style" in flow_runs(prefect, recipe)[-1].state.message


def when_train_runs(recipe: Path, act: Callable[[], None]) -> threading.Thread:
    """Do something as soon as the train stage has made three steps."""

    def watch() -> None:
        folder = settings().artifacts / recipe.stem / "train"
        while not (folder / "step-2").exists():
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_cancelled_and_resumes(
    recipe: Path, prefect: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("KYARA_TEST_FAIL", "slow")
    watcher = when_train_runs(recipe, lambda: os.kill(os.getpid(), number))
    # A shell starts background jobs with SIGINT ignored; the suite may run as one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            produce_here(str(recipe), {"train": {"epochs": 500}})
    finally:
        signal.signal(signal.SIGINT, before)
    watcher.join()
    (cancelled,) = flow_runs(prefect, recipe)
    assert cancelled.state.name == "Cancelled"
    runs = mlflow_runs(recipe)
    assert (runs["dataset"].info.status, runs["train"].info.status, runs["produce"].info.status) == (
        "FINISHED",
        "KILLED",
        "KILLED",
    )
    assert not list(settings().runs.glob("*/heartbeat.json"))
    monkeypatch.delenv("KYARA_TEST_FAIL")
    resumed = produce_here(str(recipe), {"train": {"epochs": 500}})
    log = (settings().logs / f"train_{resumed['run_id']}.log").read_text(encoding="utf-8")
    assert resumed["skipped"]["dataset"] and "train: was interrupted; resuming" in log
    assert "train: from step 0" not in log


@contextlib.contextmanager
def heart_beats(recipe: Path, **who: Any) -> Iterator[None]:
    """The heartbeat of another process that produces the recipe."""
    run_id = "20250101_000000_aaaa"
    file = settings().runs / run_id / "heartbeat.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    beat = {**this_process(), "run_id": run_id, "time": time.time(), "recipe": recipe.stem, **who}
    file.write_text(json.dumps(beat), encoding="utf-8")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def test_a_second_run_of_a_recipe_that_is_being_produced_is_refused(recipe: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        who = {"pid": other.pid, "started": psutil.Process(other.pid).create_time()}
        match = (
            rf"is being produced already .run 20250101_000000_aaaa, process {other.pid} on {socket.gethostname()} since"
        )
        with heart_beats(recipe, **who), pytest.raises(EnvironmentProblem, match=match):
            produce_here(str(recipe))
        other.communicate(b"\n")


def test_busy_is_a_process_and_not_only_a_number(recipe: Path) -> None:
    with heart_beats(recipe, host="another-machine"), pytest.raises(EnvironmentProblem, match="on another-machine"):
        refuse_if_busy(recipe.stem)
    for who in (
        {},
        {"started": 1.0},
        {"host": "another-machine", "time": 1.0},
    ):  # we, our pid's last owner, long silent
        with heart_beats(recipe, **who):
            refuse_if_busy(recipe.stem)


def test_what_a_dead_process_left_open_is_closed(recipe: Path, prefect: Any) -> None:
    from prefect import flow
    from prefect.states import Running

    flow_run = prefect.create_flow_run(flow(lambda: None, name="dead"), name="20250101_000000_bbbb")
    prefect.set_flow_run_state(flow_run.id, Running(), force=True)
    parent = tracking.start_run(recipe.stem, "dead", {})
    child = tracking.start_run(recipe.stem, "train", {}, parent=parent)
    file = settings().runs / "20250101_000000_bbbb" / "heartbeat.json"
    file.parent.mkdir(parents=True)
    beat = {
        "run_id": "20250101_000000_bbbb",
        "host": socket.gethostname(),
        "pid": 2**22 + 1,
        "started": 0.0,
        "time": 0.0,
    }
    file.write_text(json.dumps({**beat, "flow_run_id": str(flow_run.id), "mlflow_run_id": parent}), encoding="utf-8")
    assert reconcile() == ["20250101_000000_bbbb"]
    assert prefect.read_flow_run(flow_run.id).state.name == "Crashed"
    for run in (parent, child):
        assert tracking.connect().get_run(run).info.status == "KILLED"
    assert not file.exists() and reconcile() == []


def test_progress_is_shown_as_one_artifact_a_stage(recipe: Path, prefect: Any) -> None:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    result = produce_here(str(recipe))
    key = f"{result['run_id']}-train".replace("_", "-")
    (artifact,) = prefect.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    told = json.loads(artifact.description)
    assert artifact.data == 100 and (told["stage"], told["done"], told["total"]) == ("train", 20, 20)
    assert told["unit"] == "step" and told["loss"] == pytest.approx(1 / 20)

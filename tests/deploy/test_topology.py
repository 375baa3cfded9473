"""Two machines, Prefect and MLflow on PostgreSQL, artifacts on S3: what compose.yaml says, as processes."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from components.settings import settings
from flows.heartbeat import reconcile
from tests.deploy.team import AUTH, Team, team
from tests.storage import Postgres, s3


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres) -> Iterator[Team]:
    with s3("team") as bucket, team(tmp_path_factory.mktemp("team"), postgres_server, bucket) as made:
        yield made


@pytest.fixture
def prefect(machines: Team) -> Iterator[SyncPrefectClient]:
    told = {PREFECT_API_URL: machines.prefect, PREFECT_API_AUTH_STRING: AUTH}
    with temporary_settings(told), get_client(sync_client=True) as client:
        yield client


def write_recipe(machines: Team, name: str, letters: int) -> str:
    """A recipe of one's own, which no worker has as a file."""
    machines.folder.joinpath("text.txt").write_text("Banana", encoding="utf-8")
    file = machines.folder / f"{name}.yaml"
    source = machines.folder / "text.txt"
    file.write_text(f"name: {name}\nmodality: toy\ndataset: {{source: {source}}}\ntrain: {{letters: {letters}}}\n")
    return str(file)


def until(what: Callable[[], Any], seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.3)
    return found


def flow_run(prefect: SyncPrefectClient, run_id: str) -> Any:
    (found,) = [run for run in prefect.read_flow_runs(limit=50) if run.name == run_id]
    return found


def ended(prefect: SyncPrefectClient, run_id: str) -> Any:
    return until(lambda: (state := flow_run(prefect, run_id).state).is_final() and state)


def training(machines: Team, machine: str, recipe: str) -> bool:
    return any((machines.folder / machine / "artifacts" / recipe / "train").rglob("done.txt"))


def test_runs_go_to_both_machines_and_end_promoted(
    machines: Team, prefect: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: write_recipe(machines, name, 60) for name in ("letters-a", "letters-b")}
    with machines.worker("one"), machines.worker("two"):
        # Queued from a third machine.
        runs = {name: machines.kyara("desk", "produce", file, "--queue") for name, file in files.items()}
        states = {name: ended(prefect, run) for name, run in runs.items()}
    assert {name: state.name for name, state in states.items()} == dict.fromkeys(files, "Completed"), states
    where = [(machines.folder / machine / "models/toy", machine) for machine in ("one", "two")]
    assert sorted(folder.name for models, _ in where for folder in models.iterdir()) == sorted(files)
    assert all(len(list(models.iterdir())) == 1 for models, _ in where)
    monkeypatch.setenv("KYARA_MLFLOW_URI", machines.mlflow)
    settings.cache_clear()
    from components import tracking

    for name in files:
        champion = tracking.champion(name)
        assert champion is not None and champion.tags["state"] == "accepted"
        assert tracking.run_metrics(champion.run_id)["letters"] == 3
    kept = machines.bucket.keys()
    assert any(key.startswith("mlflow/") and key.endswith("metrics.json") for key in kept)


def test_a_queued_run_is_cancelled(machines: Team, prefect: SyncPrefectClient) -> None:
    from prefect.states import Cancelling

    recipe = write_recipe(machines, "letters-c", 6000)
    with machines.worker("one"):
        run = machines.kyara("desk", "produce", recipe, "--queue")
        until(lambda: training(machines, "one", "letters-c"))
        prefect.set_flow_run_state(flow_run(prefect, run).id, Cancelling())
        assert ended(prefect, run).name == "Cancelled"
        until(lambda: not list((machines.folder / "one" / "runs").glob("*/heartbeat.json")))


def test_a_run_of_a_dead_machine_is_closed_by_another_and_made_there(
    machines: Team, prefect: SyncPrefectClient, home: Path
) -> None:
    recipe = write_recipe(machines, "letters-d", 6000)
    with machines.worker("two") as worker:
        run = machines.kyara("desk", "produce", recipe, "--queue")
        until(lambda: training(machines, "two", "letters-d"))
        until(lambda: "kyara.beat" in flow_run(prefect, run).labels)
        for process in [*psutil.Process(worker.pid).children(recursive=True), psutil.Process(worker.pid)]:
            process.kill()
    assert flow_run(prefect, run).state.name == "Running"
    assert reconcile() == []  # it was heard of a moment ago
    os.environ["KYARA_MLFLOW_URI"] = machines.mlflow
    assert reconcile(silent_seconds=0) == [run]
    assert flow_run(prefect, run).state.name == "Crashed"
    shorter = write_recipe(machines, "letters-d", 2)
    with machines.worker("one"):
        again = machines.kyara("desk", "produce", shorter, "--queue")
        assert ended(prefect, again).name == "Completed"

"""Two machines, Prefect and MLflow on PostgreSQL, artifacts on S3: what compose.yaml says, as processes."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from components import modalities
from components.settings import settings
from flows.heartbeat import reconcile
from tests.deploy.team import AUTH, Team, team
from tests.deploy.world.sitecustomize import TOY
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


def training(machines: Team, workers: Any, recipe: str) -> str | None:
    """The machine that trains it."""
    folders = {name: machines.folder / name / "artifacts" / recipe / "train" for name in workers}
    return next((name for name, folder in folders.items() if any(folder.rglob("done.txt"))), None)


@pytest.fixture(scope="module")
def workers(machines: Team) -> "Iterator[dict[str, subprocess.Popen[bytes]]]":
    with machines.worker("one") as one, machines.worker("two") as two:
        yield {"one": one, "two": two}


@pytest.fixture
def queue(prefect: SyncPrefectClient, home: Path, machines: Team, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Queue a recipe from a third machine; the run's id."""
    from flows.deployments import enqueue

    monkeypatch.setenv("KYARA_MLFLOW_URI", machines.mlflow)
    settings.cache_clear()
    monkeypatch.setattr(modalities, "MODALITIES", {**modalities.MODALITIES, "toy": TOY})
    return lambda name, letters: enqueue(write_recipe(machines, name, letters), {})


def test_runs_go_to_both_machines_and_end_promoted(
    machines: Team, prefect: SyncPrefectClient, workers: Any, queue: Any
) -> None:
    from components import tracking

    names = ("letters-a", "letters-b")
    runs = {"letters-a": queue("letters-a", 60)}
    runs["letters-b"] = machines.kyara("desk", "produce", write_recipe(machines, "letters-b", 60), "--queue")
    states = {name: ended(prefect, run) for name, run in runs.items()}
    assert {name: state.name for name, state in states.items()} == dict.fromkeys(names, "Completed"), states
    made = {
        machine: [each.name for each in (machines.folder / machine / "models/toy").iterdir()] for machine in workers
    }
    assert sorted(name for here in made.values() for name in here) == sorted(names)
    assert all(len(here) == 1 for here in made.values())
    for name in names:
        champion = tracking.champion(name)
        assert champion is not None and champion.tags["state"] == "accepted"
        assert tracking.run_metrics(champion.run_id)["letters"] == 3
    kept = machines.bucket.names()
    assert any(key.startswith("mlflow/") and key.endswith("metrics.json") for key in kept)


def test_a_queued_run_is_cancelled(machines: Team, prefect: SyncPrefectClient, workers: Any, queue: Any) -> None:
    from prefect.states import Cancelling

    run = queue("letters-c", 6000)
    where = until(lambda: training(machines, workers, "letters-c"))
    prefect.set_flow_run_state(flow_run(prefect, run).id, Cancelling())
    assert ended(prefect, run).name == "Cancelled"
    until(lambda: not list((machines.folder / where / "runs").glob("*/heartbeat.json")))


def test_a_run_of_a_dead_machine_is_closed_by_another_and_made_there(
    machines: Team, prefect: SyncPrefectClient, workers: Any, queue: Any
) -> None:
    run = queue("letters-d", 6000)
    where = until(lambda: training(machines, workers, "letters-d"))
    until(lambda: "kyara.beat" in flow_run(prefect, run).labels)
    machines.die(workers[where])
    assert flow_run(prefect, run).state.name == "Running"
    assert reconcile() == []  # it was heard of a moment ago
    assert reconcile(silent_seconds=0) == [run]
    assert flow_run(prefect, run).state.name == "Crashed"
    again = queue("letters-d", 2)
    assert ended(prefect, again).name == "Completed"
    other = "one" if where == "two" else "two"
    assert (machines.folder / other / "models/toy/letters-d/champion").is_file()

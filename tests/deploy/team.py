"""The topology of deploy/compose.yaml as plain processes on loopback, by the very commands of its image."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from components.settings import REPOSITORY
from flows.ports import free_port
from flows.processes import answers
from tests.storage import Bucket, Postgres

ENTRYPOINT = REPOSITORY / "deploy" / "entrypoint.py"
WORLD = REPOSITORY / "tests" / "deploy" / "world"
AUTH = "team:secret"


@dataclass
class Team:
    """Addresses of the servers, and what every process of the team has in its environment."""

    prefect: str
    mlflow: str
    bucket: Bucket
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def home(self, name: str) -> dict[str, str]:
        """The environment of one machine."""
        return {**self.environment, "KYARA_HOME": str(self.folder / name)}

    def kyara(self, machine: str, *arguments: str) -> str:
        """What a command prints there."""
        command = [sys.executable, str(ENTRYPOINT), "kyara", *arguments]
        done = subprocess.run(command, env=self.home(machine), capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextlib.contextmanager
    def worker(self, machine: str) -> Iterator["subprocess.Popen[bytes]"]:
        """`kyara worker --limit 1` on a machine of its own; it ends with the block."""
        with running("worker", self.home(machine), self.folder / f"{machine}.log", "--limit", "1") as process:
            yield process

    def die(self, worker: "subprocess.Popen[bytes]") -> None:
        """As when the power goes: nobody is told."""
        whole = psutil.Process(worker.pid)
        for process in (*whole.children(recursive=True), whole):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@contextlib.contextmanager
def running(role: str, environment: Mapping[str, str], log: Path, *more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A container's process."""
    with log.open("wb") as output:
        command = [sys.executable, str(ENTRYPOINT), role, *more]
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output, cwd=log.parent)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(1200):
        if answers(url, timeout=5):
            return
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer:\n{log.read_text(errors='replace')[-3000:]}")


@contextlib.contextmanager
def team(folder: Path, database: Postgres, bucket: Bucket) -> Iterator[Team]:
    """Prefect and MLflow on PostgreSQL, MLflow's artifacts on S3."""
    prefect, mlflow = free_port(), free_port()
    for name in ("mlflow", "prefect"):
        database.create(name)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("KYARA_", "PREFECT_"))}
    shared = {
        **plain,
        **bucket.environment,
        "PYTHONPATH": os.pathsep.join((str(WORLD), str(REPOSITORY))),
        "BIND": "127.0.0.1",
        "KYARA_HOME": str(folder / "servers"),
        "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
    }
    servers = {
        "prefect": {
            "PORT": str(prefect),
            "PREFECT_SERVER_API_PORT": str(prefect),
            "PREFECT_API_DATABASE_CONNECTION_URL": database.url("prefect", "postgresql+asyncpg"),
            "PREFECT_SERVER_API_AUTH_STRING": AUTH,
        },
        "mlflow": {
            "PORT": str(mlflow),
            "MLFLOW_BACKEND_STORE_URI": database.url("mlflow", "postgresql+psycopg2"),
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{bucket.name}/mlflow",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
    }
    made = Team(f"http://127.0.0.1:{prefect}/api", f"http://127.0.0.1:{mlflow}", bucket, folder)
    made.environment = {
        **shared, "KYARA_MLFLOW_URI": made.mlflow, "PREFECT_API_URL": made.prefect, "PREFECT_API_AUTH_STRING": AUTH,
    }  # fmt: skip
    # What only MLflow's server may know.
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        del made.environment[name]
    with contextlib.ExitStack() as stack:
        started = {
            role: stack.enter_context(running(role, {**shared, **own}, folder / f"{role}.log"))
            for role, own in servers.items()
        }
        wait(f"{made.prefect}/health", started["prefect"], folder / "prefect.log")
        wait(f"{made.mlflow}/health", started["mlflow"], folder / "mlflow.log")
        yield made

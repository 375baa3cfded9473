"""Schemathesis over the whole OpenAPI document: whatever is sent, no answer is a 5xx, and each has its shape."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.serving.running import running

EXAMPLES = "8"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_no_request_makes_the_service_fail(bento: tuple[Path, str], tmp_path: Path) -> None:
    with running(*bento, request_cost="40", drain_seconds="0") as service:
        result = run(service.url, tmp_path)
        assert result.returncode == 0, (result.stdout + result.stderr)[-6000:]
        paths = httpx.get(f"{service.url}/openapi.json", timeout=60, trust_env=False).json()["paths"]
        count = sum(len(methods) for methods in paths.values())
        assert re.search(rf"Tested: *{count}\b", result.stdout), result.stdout[-3000:]
        assert "Traceback" not in service.log.read_text(encoding="utf-8")


def run(url: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Everything that the document describes, with a small budget."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json",
        "--checks", CHECKS, "--max-examples", EXAMPLES, "--generation-deterministic", "--workers", "1",
        "--phases", "examples,fuzzing", "--request-timeout", "60", "--suppress-health-check", "all", "--no-color",
    ]  # fmt: skip
    quiet = {**os.environ, "NO_PROXY": "*"}
    return subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True, timeout=900)

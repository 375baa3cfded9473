"""The image's servers as a container starts them: on every address, with keys, and healthy by their own check."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from components.artifact import point
from components.settings import REPOSITORY
from flows.ports import free_port
from tests.deploy.team import running
from tests.promoted import home, tiny_version

HEALTHY = REPOSITORY / "deploy" / "healthy.py"


def environment(folder: Path, port: int, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KYARA_", "BENTOML_"))}
    return {**kept, "BIND": "127.0.0.1", "PORT": str(port), "KYARA_HOME": str(folder / "container"), **more}


def wait(path: str, variables: dict[str, str], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the container's own check is content."""
    for _ in range(600):
        if subprocess.run([sys.executable, str(HEALTHY), path], env=variables).returncode == 0:
            return
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        time.sleep(0.2)
    raise AssertionError(log.read_text(errors="replace")[-3000:])


def test_the_service_draws_for_those_who_have_a_key(tmp_path: Path) -> None:
    with home(tmp_path / "made"):
        folder = tiny_version(tmp_path / "models", "1")
        point(folder.parent, "1")
    (tmp_path / "keys.txt").write_text("studio a-secret-of-the-studio 600\n")
    told = {"KYARA_MODELS": str(folder.parent), "KYARA_KEYS": str(tmp_path / "keys.txt"), "KYARA_DRAIN_SECONDS": "0"}
    variables = environment(tmp_path, free_port(), **told)
    log = tmp_path / "service.log"
    with running("service", variables, log) as process:
        wait("/livez", variables, process, log)
        wait("/readyz", variables, process, log)
        url = f"http://127.0.0.1:{variables['PORT']}/generate"
        asked = {"prompt": "red hair", "seed": 1}
        assert httpx.post(url, json=asked, trust_env=False).status_code == 401
        key = {"Authorization": "Bearer a-secret-of-the-studio"}
        drawn = httpx.post(url, json=asked, headers=key, trust_env=False, timeout=120)
        assert drawn.status_code == 200 and drawn.headers["x-kyara-model"] == "tiny:1"
        metrics = httpx.get(url.replace("/generate", "/metrics"), headers=key, trust_env=False).text
        assert "kyara_queue_depth" in metrics
    assert process.returncode == 0


def test_the_studio_is_healthy(tmp_path: Path) -> None:
    pytest.importorskip("streamlit")
    variables = environment(tmp_path, free_port(), KYARA_STUDIO_SERVICE="http://127.0.0.1:1", KYARA_STUDIO_KEY="secret")
    log = tmp_path / "studio.log"
    with running("studio", variables, log) as process:
        wait("/_stcore/health", variables, process, log)

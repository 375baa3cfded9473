"""A Bento holds the champion, the code that serves it, and nothing that trains; it runs from its own folder."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from components.artifact import open_sealed, point
from components.errors import ArtifactError, EnvironmentProblem, KyaraError, ModelError
from components.image.generation.metadata import read_png
from components.settings import REPOSITORY, settings
from flows.package import (
    bento_folder,
    bento_labels,
    build,
    champion_bento,
    requirements,
    source_files,
    tag_of,
)
from flows.ports import bind_error, free_port
from flows.processes import answers
from flows.server import Server, serve, smoke
from tests.promoted import home, tiny_recipe, tiny_version

SHIPPED = ["serving.service", "components.image.product", "components.portraits.reader.plugin"]
LABELS = {"mlflow_run_id": "run-1", "mlflow_version": "1", "prefect_flow_run_id": None, "dvc_digest": "d41d.dir"}


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with home(tmp_path_factory.mktemp("package")):
        folder = tiny_version(settings().models_dir, "1")
        point(folder.parent, "1")
        yield folder


@pytest.fixture(scope="module")
def tag(champion: Path) -> str:
    return build(tiny_recipe(engine="eager"), champion, LABELS)


def test_only_what_serves_is_shipped() -> None:
    files = {file.as_posix() for file in source_files(SHIPPED)}
    assert {
        "serving/service.py",
        "serving/request_queue.py",
        "components/image/generator.py",
        "components/image/families/sdxl.py",
    } <= files
    rooms = ("image/dataset", "image/train", "image/distillation", "image/evaluation", "image/export")
    rooms += ("training", "portraits/world", "runner", "tracking")
    assert not [file for file in files if file.startswith(tuple(f"components/{room}" for room in rooms))]
    assert not [file for file in files if file.startswith("flows/")]


def test_the_requirements_are_what_the_shipped_code_imports(champion: Path) -> None:
    names = {line.partition("==")[0] for line in requirements(tiny_recipe(), champion)}
    assert {"bentoml", "torch", "diffusers", "openvino", "rapidfuzz", "pillow", "pyyaml"} <= names
    assert not {"kyara", "mlflow", "prefect", "dvc", "datasketch", "dicebear-core", "resvg-py"} & names


def test_the_bento_carries_model_labels_and_a_lean_image(champion: Path, tag: str) -> None:
    assert tag.startswith("tiny:1-")
    folder = bento_folder(tag)
    labels = bento_labels(tag)
    assert {"mlflow_run_id": "run-1", "mlflow_version": "1", "dvc_digest": "d41d.dir"}.items() <= labels.items()
    assert (
        labels["model_digest"]
        == open_sealed(champion).digest
        == open_sealed(folder / "src" / "model", verify=True).digest
    )
    assert "prefect_flow_run_id" not in labels
    packages = (folder / "env" / "python" / "requirements.txt").read_text()
    assert "torch==" in packages and "+cpu" not in packages
    assert not any(name in packages for name in ("mlflow", "prefect", "dvc", "streamlit"))
    assert json.loads((folder / "src" / "package.json").read_text())["config"]["engine"] == "eager"


def test_the_service_in_the_bento_is_its_own_copy_and_light(tag: str) -> None:
    source = bento_folder(tag) / "src"
    script = "import json, sys, serving.service as s; print(json.dumps([s.__file__, sorted(sys.modules)]))"
    result = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True, check=True)
    file, modules = json.loads(result.stdout)
    assert Path(file) == source.resolve() / "serving" / "service.py"
    assert not {"torch", "diffusers", "mlflow", "prefect", "prometheus_client"} & set(modules)


def test_the_same_product_is_built_once(champion: Path, tag: str) -> None:
    before = (bento_folder(tag) / "bento.yaml").stat().st_mtime_ns
    assert build(tiny_recipe(engine="eager"), champion, {**LABELS, "mlflow_run_id": "run-2"}) == tag
    assert (bento_folder(tag) / "bento.yaml").stat().st_mtime_ns == before
    assert tag_of(tiny_recipe(engine="eager", max_concurrency=3), champion) != tag
    assert champion_bento() == tag


def test_only_the_champion_is_packaged(champion: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not the champion"):
        build(tiny_recipe(engine="eager"), champion.parent / "2", LABELS)
    with pytest.raises(ArtifactError, match="champion pointer"):
        build(tiny_recipe(engine="eager"), tmp_path / "1", LABELS)


def test_a_champion_without_a_bento_is_told(tag: str) -> None:
    folder = tiny_version(settings().models_dir, "2", seed=3)
    point(folder.parent, "2")
    try:
        with pytest.raises(ModelError, match="has no Bento"):
            champion_bento()
    finally:
        point(folder.parent, "1")


def test_the_bento_answers(tag: str) -> None:
    picture = smoke(tag, {"prompt": "red hair", "seed": 0})
    assert read_png(picture.png)["seed"] == 0
    assert picture.headers["x-kyara-model"] == "tiny:1"
    assert picture.ready_seconds > picture.picture_seconds > 0


def test_a_server_that_cannot_start_is_stopped_and_its_log_is_shown(tag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=f"port {port} is in use"):
            serve(tag, port)
        with pytest.raises(KyaraError, match="ended with code"), Server(tag, port=port) as server:
            server.wait_ready(60)
        assert server.process.poll() is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_ends_with_the_command_also_with_work_under_way(tag: str, number: signal.Signals) -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "serve", tag, "--port", str(port)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell starts background jobs with SIGINT ignored; the suite may run as one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as command:
        while not answers(f"http://127.0.0.1:{port}/readyz"):
            assert command.poll() is None
        family = psutil.Process(command.pid).children(recursive=True)
        slow = {"prompt": "red hair", "steps": 50, "width": 64, "height": 64}
        asking = threading.Thread(target=_ask, args=(f"http://127.0.0.1:{port}/generate", slow))
        asking.start()
        time.sleep(0.2)
        command.send_signal(number)
        output, _ = command.communicate(timeout=60)
        asking.join()
    assert command.returncode == 0 and "Traceback" not in output
    assert len(family) > 1 and not any(process.is_running() for process in family)
    assert bind_error(port) is None


def _ask(url: str, body: dict[str, object]) -> None:
    """Ask, whatever comes of it: the server is being stopped."""
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(url, json=body, timeout=60, trust_env=False)


def test_an_unknown_bento_is_one_sentence(champion: Path) -> None:
    with pytest.raises(KyaraError, match="'tiny:none' is not in"):
        smoke("tiny:none", {"prompt": "a"})

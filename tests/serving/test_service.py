"""The service as it is shipped: a Bento of a tiny model, behind a port, following a models folder."""

import io
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from PIL import Image

from components.artifact import point
from components.settings import settings
from flows.package import build
from flows.server import Server
from serving.body_limit import LIMIT
from tests.components.image.generation.pictures import base64_of, noisy
from tests.promoted import home, tiny_recipe, tiny_version

SLOW = {"steps": 50, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with home(tmp_path_factory.mktemp("service")):
        os.environ["KYARA_ALLOWED_HOSTS"] = "studio.example"
        os.environ["KYARA_ALLOWED_ORIGINS"] = "https://listed.example, https://other.example"
        models = settings().models_dir
        folder = tiny_version(models, "1")
        point(folder.parent, "1")
        recipe = tiny_recipe(engine="eager", max_concurrency=2)
        with Server(build(recipe, folder, {"mlflow_run_id": "run-1"}), models=models) as running:
            running.wait_ready()
            yield running


def ask(server: Server, timeout: float = 60, **fields: Any) -> httpx.Response:
    body = {"prompt": "red hair, smile", **fields}
    return httpx.post(f"{server.url}/generate", json=body, timeout=timeout, trust_env=False)


def get(server: Server, path: str) -> httpx.Response:
    return httpx.get(f"{server.url}{path}", timeout=10, trust_env=False)


def until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_a_picture_with_its_metadata(server: Server) -> None:
    response = ask(server, seed=7, negative_prompt="blue", steps=3, guidance_scale=2, width=48)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-kyara-seed"] == "7"
    assert response.headers["x-kyara-model"] == "tiny:1"
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.size == (48, 32)
        facts = json.loads(str(image.info["kyara"]))
        assert "Seed: 7" in str(image.info["parameters"])
    wanted = {
        "seed": 7,
        "steps": 3,
        "guidance_scale": 2,
        "negative_prompt": "blue",
        "model": "tiny",
        "model_version": "1",
    }
    assert wanted.items() <= facts.items()


def test_modes_take_pictures_as_base64(server: Server) -> None:
    given = noisy()
    sent = {"mode": "inpaint", "image": base64_of(given), "box": [4, 4, 20, 20], "seed": 3}
    response = ask(server, **sent)
    assert response.status_code == 200 and ask(server, **sent).content == response.content
    drawn = Image.open(io.BytesIO(response.content))
    assert json.loads(str(drawn.info["kyara"]))["mode"] == "inpaint"
    outside = (0, 20, 32, 32)
    assert drawn.crop(outside).tobytes() == given.crop(outside).tobytes()
    assert drawn.tobytes() != given.tobytes()
    several = ask(server, n=2, seed=5)
    assert several.headers["content-type"] == "application/zip" and several.headers["x-kyara-seed"] == "5"


def test_a_moving_picture_has_its_own_media_type(server: Server) -> None:
    keys = [{"change": {"expression": "frown"}}]
    for form in ("webp", "gif"):
        response = ask(server, mode="animate", keys=keys, frames=3, seed=3, format=form)
        assert response.status_code == 200 and response.headers["content-type"] == f"image/{form}"
        assert Image.open(io.BytesIO(response.content)).n_frames > 1
    edited = ask(server, mode="edit", change={"expression": "frown"}, seed=3)
    assert edited.headers["content-type"] == "image/png"
    assert unquote(edited.headers["x-kyara-prompt"]) == "kyarachar, red hair, frown"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"mode": "sculpture"}, "sculpture"),
        ({"mode": "inpaint"}, "image: missing"),
        ({"mode": "image_to_image", "image": "????"}, "no base64"),
        ({"mode": "image_to_image", "image": base64_of(noisy((33, 32)))}, "33x32"),
        ({"image": "AAAA"}, "image: no such field"),
        ({"loras": {"one": 1}}, "LoRA 'one' is unknown"),
        ({"mode": "control", "controls": [{"kind": "pose", "pose": {}}]}, "no ControlNet for kind 'pose'"),
        (
            {"mode": "control", "controls": [{"kind": "pose", "pose": {}, "model": "/etc"}]},
            "ControlNet '/etc' is unknown",
        ),
        ({"mode": "edit", "change": {"wings": "two"}}, "'wings' is no attribute"),
        ({"mode": "animate"}, "key frames or a motion"),
    ],
)
def test_what_a_mode_cannot_draw_is_400(server: Server, fields: dict[str, Any], named: str) -> None:
    response = ask(server, **fields)
    assert response.status_code == 400 and named in response.json()["error"]["message"]


def test_prompts_are_read_in_both_languages_and_with_mistakes(server: Server) -> None:
    meant = ask(server, prompt="pink hair, smile", seed=3, raw=True)
    assert "x-kyara-confidence" not in meant.headers
    for typed in ("ピンクの髪で笑顔", "pnik hiar, ѕmile"):
        drawn = ask(server, prompt=typed, seed=3)
        assert unquote(drawn.headers["x-kyara-prompt"]) == "kyarachar, pink hair, smile"
        assert 0 < float(drawn.headers["x-kyara-confidence"]) <= 1
        assert pixels(drawn) == pixels(meant)


def pixels(response: httpx.Response) -> bytes:
    with Image.open(io.BytesIO(response.content)) as image:
        return image.tobytes()


def test_seeds_are_honoured_also_zero_and_random_ones_are_told(server: Server) -> None:
    first, again, other, free = ask(server, seed=0), ask(server, seed=0), ask(server, seed=1), ask(server)
    assert first.content == again.content != other.content
    assert ask(server, seed=int(free.headers["x-kyara-seed"])).content == free.content


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"prompt": ""}, "prompt"),
        ({"stps": 4}, "stps"),
        ({"steps": "many"}, "steps"),
        ({"steps": 51}, "steps"),
        ({"width": 33}, "width"),
    ],
)
def test_wrong_values_are_400_also_those_that_only_the_model_knows(
    server: Server, fields: dict[str, Any], named: str
) -> None:
    response = ask(server, **fields)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "request"
    assert named in response.json()["error"]["message"]


def test_a_large_body_is_413(server: Server) -> None:
    def stream() -> Iterator[bytes]:
        for _ in range(LIMIT // 2**20 + 1):
            yield b" " * 2**20

    for content in (b" " * (LIMIT + 1), stream()):
        headers = {"Content-Type": "application/json"}
        response = httpx.post(f"{server.url}/generate", content=content, headers=headers, timeout=10, trust_env=False)
        assert response.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Host": "studio.example", "Origin": "https://studio.example"}, 200),
        ({"Origin": "https://listed.example"}, 200),
    ],
)
def test_a_page_of_another_site_cannot_ask(server: Server, headers: dict[str, str], status: int) -> None:
    sent = {"Content-Type": "application/json", **headers}
    body = json.dumps({"prompt": "red hair", "steps": 1})
    response = httpx.post(f"{server.url}/generate", content=body, headers=sent, timeout=60, trust_env=False)
    assert response.status_code == status
    shared = response.headers.get("access-control-allow-origin")
    assert shared == ("https://listed.example" if "https://listed.example" in headers.values() else None)


def test_probes_come_by_the_machines_address_and_nothing_else_does(server: Server) -> None:
    for path, status in (("/livez", 200), ("/readyz", 200), ("/model", 403), ("/metrics", 403)):
        response = httpx.get(f"{server.url}{path}", headers={"Host": "10.1.2.3:3000"}, timeout=10, trust_env=False)
        assert response.status_code == status, path


def test_health_metrics_model_and_page(server: Server) -> None:
    assert get(server, "/livez").status_code == get(server, "/readyz").status_code == 200
    ask(server)
    metrics = get(server, "/metrics").text
    assert re.search(r'kyara_requests_total\{path="/generate",status="200"\} [1-9]', metrics)
    assert 'kyara_generation_seconds_count{model="tiny:1"}' in metrics
    assert "kyara_queue_depth 0.0" in metrics
    assert re.search(r'kyara_model_info\{digest="\w{64}",engine="[^"]+",name="tiny",version="1"\} 1\.0', metrics)
    card = get(server, "/model").json()
    told = {"version": "1", "trigger": "kyarachar", "license": "CC0-1.0", "metrics": {"lora.style": 1.0}}
    assert told.items() <= card.items() and "eager" in card["engine"]
    page = get(server, "/")
    assert "キャラ" in page.text and "connect-src 'self'" in page.headers["content-security-policy"]
    assert not re.search(r"https?://|@import|src=\"//", page.text)


def test_overload_is_429_with_retry_after_and_the_loop_stays_free(server: Server) -> None:
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, server, seed=0, **SLOW) for _ in range(6)]
        time.sleep(0.1)
        assert get(server, "/livez").status_code == 200
        assert not all(each.done() for each in asked), "answered while a picture was being drawn"
        answers = [each.result() for each in asked]
    refused = [each for each in answers if each.status_code == 429]
    assert len(refused) == 4
    assert [each.status_code for each in answers].count(200) == 2
    assert all(int(each.headers["retry-after"]) >= 1 for each in refused)
    assert refused[0].json()["error"]["code"] == "overloaded"


def test_a_client_that_leaves_stops_its_generation(server: Server) -> None:
    with pytest.raises(httpx.ReadTimeout):
        ask(server, timeout=0.1, **SLOW)
    until(lambda: "the client left" in server.log.read_text(encoding="utf-8"), 10)
    until(lambda: "kyara_queue_depth 0.0" in get(server, "/metrics").text, 10)


def test_another_champion_takes_over_without_a_failed_request_and_a_damaged_one_does_not(server: Server) -> None:
    """Last: it changes what is served."""
    models = settings().models_dir
    folder = tiny_version(models, "2", seed=5).parent
    damaged = Path(shutil.copytree(folder / "1", folder / "3")) / "anime-lora-final" / "adapter_model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x7f")
    before = ask(server, seed=0)
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            answers.append(ask(server, seed=0))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        point(folder, "2")
        until(lambda: answers and answers[-1].headers.get("x-kyara-model") == "tiny:2")
        point(folder, "3")
        until(lambda: "is refused" in server.log.read_text(encoding="utf-8"))
    finally:
        stop.set()
        asking.join()
    assert {each.status_code for each in answers} == {200}
    assert answers[-1].headers["x-kyara-model"] == "tiny:2"
    assert answers[-1].content != before.content
    assert get(server, "/model").json()["version"] == "2"
    assert 'version="1"} 0.0' in get(server, "/metrics").text

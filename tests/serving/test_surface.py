"""What a real service shows besides pictures, what it refuses, and that no request brings it to its knees."""

import json
import socket

import pytest

from components.image.generation.modes import MODES
from tests.components.image.generation.pictures import base64_of, noisy
from tests.serving.running import QUICK, Running, until

PICTURE = base64_of(noisy())
BODIES = {
    "/txt2img": {},
    "/img2img": {"image": PICTURE},
    "/inpaint": {"image": PICTURE, "box": [4, 4, 20, 20]},
    "/transform": {"change": {"expression": "frown"}},
    "/interpolate": {"keys": [{"change": {"expression": "frown"}}], "frames": 2},
    "/animate": {"motion": "nod", "frames": 2},
    "/upscale": {"scale": 2},
}


@pytest.mark.parametrize("path", BODIES)
def test_every_mode_has_a_route_that_sets_it(shared: Running, path: str) -> None:
    response = shared.post(path, {"prompt": "red hair, smile", "steps": 2, "seed": 0, **BODIES[path]})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] in ("image/png", "image/webp") and response.headers["x-kyara-seed"] == "0"


def test_a_route_takes_no_other_mode_and_unknown_paths_and_methods_have_our_shape(shared: Running) -> None:
    assert {mode.route for mode in MODES.values()} >= set(BODIES)
    for response, status, code in (
        (shared.post("/txt2img", {**QUICK, "mode": "inpaint"}), 400, "request"),
        (shared.post("/nothing", QUICK), 404, "not_found"),
        (shared.get("/generate"), 405, "method"),
        (shared.get("/docs.json"), 404, "not_found"),
        (shared.get("/static_content/index.html"), 404, "not_found"),
    ):
        assert response.status_code == status and response.json()["error"]["code"] == code


@pytest.mark.parametrize(
    "fields",
    [
        {"loras": {"../../../../etc/passwd": 1}},
        {"loras": {"/etc/passwd": 1}},
        {"loras": {"http://127.0.0.1/x.safetensors": 1}},
        {"prompt": "<lora:../keys:1> red hair"},
        {"vae": "../../models"},
        {"ip_adapter": {"name": "../..", "image": PICTURE}},
        {"refiner": {"name": "/"}},
        {"mode": "image_to_image", "image": "/etc/passwd"},
        {"mode": "image_to_image", "image": "file:///etc/passwd"},
        {"mode": "image_to_image", "image": "http://127.0.0.1:1/a.png"},
        {"mode": "control", "controls": [{"kind": "picture", "image": PICTURE, "model": "../../base"}]},
    ],
)
def test_names_are_names_and_pictures_are_bytes_never_a_path_or_an_address(shared: Running, fields: dict) -> None:
    response = shared.post("/generate", {**QUICK, **fields})
    assert response.status_code == 400 and response.json()["error"]["code"] == "request"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/txt2img", {"steps": 101}),
        ("/txt2img", {"width": 4128}),
        ("/txt2img", {"width": 1024, "height": 1024}),
        ("/txt2img", {"n": 17}),
        ("/txt2img", {"prompt": "a" * 2001}),
        ("/upscale", {"scale": 5}),
        ("/animate", {"motion": "nod", "frames": 65}),
        ("/interpolate", {"keys": [{}] * 9}),
        ("/img2img", {"image": base64_of(noisy((2048, 2048)))}),
        ("/control", {"controls": [{"kind": "pose", "image": PICTURE}] * 5}),
    ],
)
def test_every_mode_is_bounded_before_work_begins(shared: Running, path: str, fields: dict) -> None:
    before = shared.metric('kyara_steps_total{model="tiny:1"}')
    response = shared.post(path, {**QUICK, **fields})
    assert response.status_code == 400, response.text
    assert shared.metric('kyara_steps_total{model="tiny:1"}') == before


def test_how_a_text_is_read_without_drawing(shared: Running) -> None:
    told = shared.post("/prompts", {"prompt": "ピンクの髪で笑顔"}).json()
    assert told["text"] == "pink hair, smile" and 0 < told["confidence"] <= 1
    assert told["prompt"]["draft"]["language"] == "ja"
    assert {"attribute", "value", "said", "probability", "alternatives"} <= set(
        told["prompt"]["draft"]["attributes"][0]
    )
    for wrong in ({}, {"prompt": ""}, {"prompt": 3}, {"prompt": "a", "other": 1}, [], "a"):
        response = shared.post("/prompts", wrong)
        assert response.status_code == 400 and set(response.json()["error"]) == {"code", "message", "hint"}


def test_the_champion_its_figures_and_the_names_that_requests_may_use(shared: Running) -> None:
    models = shared.get("/models").json()
    assert models["champion"] == "tiny:1" and models["models"][0]["metrics"] == {"lora.style": 1.0}
    assert models["models"][0] == shared.get("/model").json()
    assert shared.get("/loras").json() == {"loras": [], "controls": [], "vae": [], "ip_adapter": [], "refiner": []}


def test_the_document_covers_the_whole_surface_and_its_page_loads_nothing_from_elsewhere(shared: Running) -> None:
    document = shared.get("/openapi.json").json()
    assert {"/generate", "/prompts", "/models", "/loras", "/generate/cancel", *BODIES} <= set(document["paths"])
    references = set(_references(document))
    assert references and all(name in document["components"]["schemas"] for name in references)
    page = shared.get("/docs").text
    assert "http://" not in page.replace("http://127.0.0.1", "") and "https://" not in page
    assert shared.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    assert 'href="docs"' in shared.get("/").text


def _references(part: object) -> list[str]:
    if isinstance(part, dict):
        own = [str(part["$ref"]).rpartition("/")[2]] if isinstance(part.get("$ref"), str) else []
        return own + [name for each in part.values() for name in _references(each)]
    return [name for each in part for name in _references(each)] if isinstance(part, list) else []


def test_request_ids_are_taken_where_they_are_sound_and_made_otherwise(shared: Running) -> None:
    assert shared.get("/model", headers={"X-Request-Id": "abc-1.2_X"}).headers["x-request-id"] == "abc-1.2_X"
    made = {
        shared.get("/model", headers={"X-Request-Id": given}).headers["x-request-id"]
        for given in ("a" * 65, "with blank", "<b>", "")
    }
    assert len(made) == 4 and all(len(each) == 24 for each in made)
    shared.post("/generate", QUICK, headers={"X-Request-Id": "find-me"})
    lines = [line for line in shared.lines() if line.get("request_id") == "find-me"]
    wanted = {"level": "INFO", "method": "POST", "path": "/generate", "status": 200}
    assert any(wanted.items() <= line.items() and line["seconds"] > 0 for line in lines)


def test_a_body_that_drips_is_408_and_liveness_does_not_wait(shared: Running) -> None:
    host, port = shared.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as line:
        head = (
            f"POST /generate HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        line.sendall(head.encode() + b'{"prompt"')
        assert shared.get("/livez").status_code == 200
        assert line.recv(4096).startswith(b"HTTP/1.1 408")


def test_metrics_tell_of_queue_latency_steps_engine_and_tasks(shared: Running) -> None:
    before = shared.metric('kyara_steps_total{model="tiny:1"}')
    shared.post("/generate", {**QUICK, "steps": 3})
    assert shared.metric('kyara_steps_total{model="tiny:1"}') == before + 3
    text = shared.get("/metrics").text
    for name in (
        'kyara_request_seconds_count{path="/generate"}',
        'kyara_generation_seconds_count{model="tiny:1"}',
        "kyara_queue_depth 0.0",
        "kyara_queue_busy 0.0",
        "kyara_tasks ",
        'engine="eager float32"',
    ):
        assert name in text, name


def test_a_picture_that_cannot_be_json_or_is_no_utf8_is_400(shared: Running) -> None:
    for content in (b"\xff\xfe", b"{", b'{"prompt": "\\ud800"}', json.dumps("x" * 10).encode()):
        response = shared.post("/txt2img", content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == 400 and response.json()["error"]["code"] == "request"
    until(lambda: shared.metric("kyara_queue_depth") == 0)

"""Server-sent events of a real service."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.serving.running import QUICK, SLOW, Running, until

EVENTS = {"Accept": "text/event-stream"}
PNG = b"\x89PNG"


def told(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def stream(service: Running, path: str, body: Any, **headers: str) -> list[tuple[str, dict[str, Any]]]:
    with httpx.stream(
        "POST", f"{service.url}{path}", json=body, headers={**EVENTS, **headers}, timeout=60, trust_env=False
    ) as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        return list(told(response))


def test_previews_and_then_the_very_answer(shared: Running) -> None:
    body = {**SLOW, "steps": 12}
    *previews, (last, done) = stream(shared, "/txt2img", body)
    assert previews and {name for name, _ in previews} == {"preview"} and last == "done"
    assert [data["done"] for _, data in previews] == sorted({data["done"] for _, data in previews})
    assert any(base64.b64decode(data.get("image", ""))[:4] == PNG for _, data in previews)
    assert done["media_type"] == "image/png" and done["metadata"]["seed"] == 0 and done["model"] == "tiny:1"
    assert base64.b64decode(done["content"]) == shared.post("/generate", body).content


def test_what_is_wrong_at_once_is_a_status_and_what_goes_wrong_later_an_event(shared: Running) -> None:
    refused = shared.post("/generate", {"prompt": ""}, headers=EVENTS)
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "request"
    [(name, data)] = stream(shared, "/generate", {**QUICK, "width": 33})
    assert name == "error" and data["error"]["code"] == "request" and "width" in data["error"]["message"]


def test_a_stream_that_takes_too_long_ends_and_so_does_its_work(shared: Running) -> None:
    *_, (name, data) = stream(shared, "/generate", {**SLOW, "n": 16}, **{"X-Kyara-Deadline": "0.5"})
    assert name == "error" and data["error"]["code"] == "deadline"
    until(lambda: shared.metric("kyara_queue_depth") == 0, 10)


def test_a_plain_answer_that_takes_too_long_is_504(shared: Running) -> None:
    response = shared.post("/generate", {**SLOW, "n": 16}, headers={"X-Kyara-Deadline": "0.3"})
    assert response.status_code == 504 and response.json()["error"]["code"] == "deadline"
    until(lambda: shared.metric("kyara_queue_depth") == 0, 10)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "soon"])
def test_a_deadline_that_is_none_is_400(shared: Running, value: str) -> None:
    response = shared.post("/generate", QUICK, headers={"X-Kyara-Deadline": value})
    assert response.status_code == 400 and "X-Kyara-Deadline" in response.json()["error"]["message"]


def test_who_leaves_a_stream_stops_its_work(shared: Running) -> None:
    with httpx.stream(
        "POST", f"{shared.url}/generate", json={**SLOW, "n": 16}, headers=EVENTS, timeout=60, trust_env=False
    ) as response:
        events = told(response)  # dropping it would close the connection
        next(events)
        assert shared.metric("kyara_queue_busy") == 1
    until(lambda: shared.metric("kyara_queue_depth") == 0, 10)

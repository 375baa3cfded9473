"""What the studio understands of the service's answers."""

import base64
import io
import json
import zipfile

import httpx
import pytest

from components.contracts import Done, Preview
from flows.ports import free_port
from serving.studio.client import Model, Service, ServiceError, event_of, events, pictures, refused

BYTES = base64.b64encode(b"picture").decode()


def test_events_are_read_from_lines_with_comments_between() -> None:
    lines = [
        ": still at work", "", "event: preview", 'data: {"done": 1,', 'data:  "total": 4}', "", "id: 3", "event: done",
        'data: {"content": "", "media_type": "image/png"}', "", "data: {}", "",
    ]  # fmt: skip
    found = list(events(iter(lines)))
    assert [name for name, _ in found] == ["preview", "done", "message"]
    assert found[0][1] == {"done": 1, "total": 4}


def test_events_become_previews_pictures_and_errors() -> None:
    assert event_of("preview", {"done": 1, "total": 4}) == Preview(1, 4, None)
    assert event_of("preview", {"done": 2, "total": 4, "image": BYTES}) == Preview(2, 4, b"picture")
    done = event_of("done", {"content": BYTES, "media_type": "image/webp", "metadata": {"seed": 3}, "seconds": 1.5})
    assert done == Done(b"picture", "image/webp", {"seed": 3}, 1.5)
    with pytest.raises(ServiceError, match="too long") as caught:
        event_of("error", {"error": {"code": "deadline", "message": "too long.", "hint": "Wait."}})
    assert (caught.value.code, caught.value.hint) == ("deadline", "Wait.")
    with pytest.raises(ValueError, match="gossip"):
        event_of("gossip", {})


def test_a_refusal_carries_the_services_words_and_how_long_to_wait() -> None:
    told = {"error": {"code": "overloaded", "message": "9 wait.", "hint": "Try again in 3 s."}}
    error = refused(httpx.Response(429, json=told, headers={"Retry-After": "3"}))
    assert (error.code, error.message, error.hint, error.retry_after) == (
        "overloaded", "9 wait.", "Try again in 3 s.", 3,
    )  # fmt: skip
    for body in (b"<html>", json.dumps({"error": "no"}).encode(), b"[]"):
        plain = refused(httpx.Response(502, content=body))
        assert (plain.code, plain.retry_after) == ("502", None)


def test_where_nobody_listens_the_service_is_offline() -> None:
    service = Service(f"http://127.0.0.1:{free_port()}")
    for call in (service.model, lambda: service.read("x"), lambda: list(service.draw({"prompt": "x"}))):
        with pytest.raises(ServiceError) as caught:
            call()
        assert caught.value.code == "offline"


def test_several_pictures_come_out_of_one_file() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("7.png", b"one")
        archive.writestr("8.webp", b"two")
    assert pictures(Done(buffer.getvalue(), "application/zip")) == [(b"one", "image/png"), (b"two", "image/webp")]
    assert pictures(Done(b"one", "image/gif")) == [(b"one", "image/gif")]


def test_a_model_without_a_vocabulary_has_plain_words() -> None:
    model = Model({"name": "m", "version": "2", "mode": "none"}, {"hair": {"red": {"ja": ["赤髪"], "en": []}}})
    assert (model.name, model.side, model.distilled) == ("m:2", 512, False)
    assert model.word("hair", "red", "ja") == "赤髪"
    assert model.word("hair", "red", "en") == "red" and model.word("wings", "two", "ja") == "two"

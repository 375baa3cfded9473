"""A busy service over a real connection: the studio waits as long as it was told, says so, and gives up in the end."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from components.contracts import Done, Preview
from serving.studio import drawing
from serving.studio.client import Model, Service, ServiceError
from serving.studio.page import Studio
from serving.studio.words import load

Answer = tuple[int, dict[str, str], str]
BUSY: Answer = (429, {"Retry-After": "1"}, json.dumps({"error": {"code": "overloaded", "message": "2 wait."}}))
WRONG: Answer = (400, {}, json.dumps({"error": {"code": "request", "message": "steps: 99 is wrong."}}))
DRAWN: Answer = (
    200,
    {"Content-Type": "text/event-stream"},
    'event: preview\ndata: {"done": 1, "total": 2}\n\n'
    'event: done\ndata: {"content": "", "media_type": "image/png"}\n\n',
)


@contextmanager
def answering(*answers: Answer) -> Iterator[str]:
    """A server on loopback that gives these answers, one a request, the last one for ever."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Note:
    """What the place for notes on the page was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def info(self, text: str, icon: str) -> None:
        self.told.append(text)

    def empty(self) -> None:
        self.told.append("")


def asked(url: str) -> tuple[list[Preview | Done], Note]:
    note, studio = Note(), Studio(Service(url), Model({}), load("ja"))
    return list(drawing.patient(studio, {"prompt": "x"}, note)), note


def test_a_busy_service_is_asked_again_when_it_said_so() -> None:
    with answering(BUSY, BUSY, DRAWN) as url:
        events, note = asked(url)
    assert events == [Preview(1, 2), Done(b"", "image/png")]
    assert note.told == ["混み合っています。1 秒後にもう一度試します。", ""] * 2


def test_what_waiting_does_not_help_is_told_at_once() -> None:
    with answering(WRONG, DRAWN) as url, pytest.raises(ServiceError, match="99 is wrong"):
        asked(url)


def test_a_service_that_stays_busy_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "PATIENCE", 1)
    with answering(BUSY) as url, pytest.raises(ServiceError, match="stayed busy"):
        asked(url)


def test_an_answer_that_is_no_picture_is_one_error() -> None:
    for body in ("event: done\ndata: [1]\n\n", "event: done\ndata: {\n\n", "event: preview\ndata: {}\n\n"):
        with answering((200, {}, body)) as url, pytest.raises(ServiceError, match="cannot be read"):
            asked(url)

"""A language model's server on loopback: it speaks Gemini's, OpenAI's and Anthropic's shapes and does what it is told.

    with LlmServer() as server:
        server.replies = [Reply(status=429, headers={"Retry-After": "1"}), Reply(answer={"subject": "1girl"})]

The last reply is given again and again. `server.calls` has what came in.
"""

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

KEY = "sk-test-0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Reply:
    """`answer` is what the model says: text, or an object that becomes JSON. `body` replaces the whole response."""

    answer: str | Mapping[str, Any] = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    end: Literal["stop", "length", "blocked", "refused", "nothing"] = "stop"
    body: bytes | None = None
    drip: float = 0.0

    def text(self) -> str:
        return self.answer if isinstance(self.answer, str) else json.dumps(self.answer, ensure_ascii=False)


@dataclass(frozen=True)
class Call:
    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def text(self) -> str:
        return json.dumps(self.body, ensure_ascii=False)


class LlmServer:
    def __init__(self) -> None:
        self.replies: list[Reply] = [Reply()]
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "LlmServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def next(self, call: Call) -> Reply:
        with self._lock:
            self.calls.append(call)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                reply = server.next(Call(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                time.sleep(reply.delay)
                # A client that stopped waiting has closed the connection.
                with contextlib.suppress(ConnectionError):
                    self.answer(reply)

            def answer(self, reply: Reply) -> None:
                data = reply.body if reply.body is not None else json.dumps(shaped(self.path, reply)).encode()
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                for start in range(0, len(data), len(data) if not reply.drip else 1):
                    self.wfile.write(data[start : start + (len(data) if not reply.drip else 1)])
                    time.sleep(reply.drip)

            def log_message(self, *_: object) -> None:
                """Nothing on the terminal."""

        return Handler


def shaped(path: str, reply: Reply) -> Any:
    """The reply in the words of the service that owns the path."""
    if reply.status != 200:
        # Careless services do repeat the key.
        return {"error": {"code": reply.status, "message": f"{reply.text()} key={KEY}", "status": "FAILED"}}
    if ":generateContent" in path:
        return _gemini(reply)
    return _anthropic(reply) if path.endswith("/messages") else _openai(reply)


def _gemini(reply: Reply) -> Any:
    if reply.end == "refused":
        return {"promptFeedback": {"blockReason": "SAFETY"}}
    if reply.end == "nothing":
        return {"candidates": []}
    reason = {"stop": "STOP", "length": "MAX_TOKENS", "blocked": "SAFETY"}[reply.end]
    content = {"role": "model", "parts": [] if reply.end == "blocked" else [{"text": reply.text()}]}
    return {"candidates": [{"content": content, "finishReason": reason, "index": 0}], "modelVersion": "local"}


def _openai(reply: Reply) -> Any:
    if reply.end == "nothing":
        return {"object": "chat.completion", "choices": []}
    refusal = {"refusal": "I cannot help with that."} if reply.end == "refused" else {}
    content = None if reply.end in ("blocked", "refused") else reply.text()
    reason = {"length": "length", "blocked": "content_filter"}.get(reply.end, "stop")
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **refusal}, "finish_reason": reason}
    return {"object": "chat.completion", "choices": [choice]}


def _anthropic(reply: Reply) -> Any:
    reason = {"length": "max_tokens", "blocked": "refusal", "refused": "refusal"}.get(reply.end, "tool_use")
    try:
        given = json.loads(reply.text())
    except (ValueError, RecursionError):
        given = reply.text()
    block = {"type": "tool_use", "id": "toolu_1", "name": "draft", "input": given}
    content = [block] if reply.end in ("stop", "length") else []
    return {"type": "message", "role": "assistant", "content": content, "stop_reason": reason}

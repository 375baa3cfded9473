"""Our errors in the words of the clients that asked: one middleware, one row for each family of paths."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.errors import RequestError

Translate = Callable[[int, Mapping[str, Any]], Mapping[str, Any]]
_FIELD = re.compile(r"the request is wrong: (?:body\.)?([a-z_]+)[.:]")


class FieldError(RequestError):
    """A value of one field that cannot be served; `field` as the client calls it."""

    def __init__(self, field: str, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(f"the request is wrong: {field}: {message}", hint=hint, code=code)


def openai_error(status: int, error: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's shape, by which its client chooses an exception and what it says."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = "server_error" if status >= 500 else kinds.get(status, "invalid_request_error")
    codes = {"key": "invalid_api_key", "rate": "rate_limit_exceeded", "overloaded": "server_overloaded"}
    code, field = str(error["code"]), _FIELD.match(str(error["message"]))
    told = {"type": kind, "param": field[1] if field else None, "code": codes.get(code, code)}
    return {"error": {"message": _sentences(error), **told}}


def a1111_error(status: int, error: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of the web UI's API, whose front ends show `detail`."""
    return {"error": error["code"], "detail": _sentences(error), "body": "", "errors": error["message"]}


def _sentences(error: Mapping[str, Any]) -> str:
    return f"{error['message']} {error['hint']}".strip()


SHAPES: Mapping[str, Translate] = {"/v1/": openai_error, "/sdapi/": a1111_error}


class ErrorShapesMiddleware:
    """Rewrites the body of an error below a path of SHAPES, whoever refused: a route, or a middleware before it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        translate = next((each for prefix, each in SHAPES.items() if path.startswith(prefix)), None)
        if scope["type"] != "http" or translate is None:
            await self.app(scope, receive, send)
            return
        await self.app(scope, receive, _Rewriting(send, translate))


class _Rewriting:
    """Hands answers on; holds an error back until its body is whole."""

    def __init__(self, send: Send, translate: Translate) -> None:
        self.send = send
        self.translate = translate
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self.send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        body = bytes(self._body)
        try:
            told = self.translate(start["status"], json.loads(body)["error"])
        except (ValueError, KeyError, TypeError):  # not an error of ours
            pass
        else:
            body = json.dumps(told, ensure_ascii=False).encode()
            MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})

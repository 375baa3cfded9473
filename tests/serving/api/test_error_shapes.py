"""Errors in their clients' words, whoever refused."""

import asyncio
import json
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from components.errors import KyaraError
from serving.api.error_shapes import ErrorShapesMiddleware, FieldError
from serving.errors import KeyRefusedError, OverloadedError, TooLargeError, answer


def answered(path: str, response: Response) -> Response:
    """What a client gets."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    asyncio.run(ErrorShapesMiddleware(response)(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in messages[1:])
    headers = dict(messages[0]["headers"])
    assert int(headers[b"content-length"]) == len(body)
    told = {name.decode(): value.decode() for name, value in headers.items()}
    return Response(body, messages[0]["status"], {**told, "x": "y"})


@pytest.mark.parametrize(
    ("error", "status", "kind", "param", "code"),
    [
        (FieldError("size", "'large' is no size."), 400, "invalid_request_error", "size", "request"),
        (KeyRefusedError("an API key is needed."), 401, "authentication_error", None, "invalid_api_key"),
        (TooLargeError(9), 413, "invalid_request_error", None, "too_large"),
        (OverloadedError("full.", retry_after=3), 429, "rate_limit_error", None, "server_overloaded"),
        (KyaraError("broken."), 500, "server_error", None, "error"),
    ],
)
def test_openai(error: KyaraError, status: int, kind: str, param: str | None, code: str) -> None:
    response = answered("/v1/images/generations", answer(error))
    told = json.loads(bytes(response.body))["error"]
    assert (response.status_code, told["type"], told["param"], told["code"]) == (status, kind, param, code)
    assert told["message"].startswith(error.message)


def test_waiting_is_told_and_the_web_ui_shows_its_detail() -> None:
    response = answered("/sdapi/v1/txt2img", answer(OverloadedError("full.", retry_after=3)))
    assert response.headers["retry-after"] == "3"
    told = json.loads(bytes(response.body))
    assert told == {"error": "overloaded", "detail": "full. Try again in 3 s.", "body": "", "errors": "full."}


@pytest.mark.parametrize(
    ("path", "response"),
    [
        ("/generate", answer(TooLargeError(9))),
        ("/v1/models", JSONResponse({"error": {"code": "fine"}})),
        ("/v1/models", PlainTextResponse("no JSON", 502)),
        ("/v1/models", JSONResponse({"detail": "not ours"}, 400)),
        ("/v1/models", JSONResponse(["not ours"], 400)),
    ],
)
def test_everything_else_passes_as_it_is(path: str, response: Response) -> None:
    passed = answered(path, response)
    assert (passed.status_code, passed.body) == (response.status_code, response.body)

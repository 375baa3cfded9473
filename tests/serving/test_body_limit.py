"""What the middleware refuses, and that it hands on the rest unchanged."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from components.errors import KyaraError
from components.image.generation.request import GenerateRequest
from serving.body_limit import LIMIT, BodyLimitMiddleware, parse
from serving.errors import answer


async def draw(request: Request) -> JSONResponse:
    try:
        parse(GenerateRequest, await request.body())
    except KyaraError as error:
        return answer(error)
    return JSONResponse(await request.json())


async def other(request: Request) -> JSONResponse:
    return JSONResponse(len(await request.body()))


ROUTES = [Route("/generate", draw, methods=["POST"]), Route("/other", other, methods=["POST"])]
APP = BodyLimitMiddleware(Starlette(routes=ROUTES), seconds=0.2, forms=["/other"])


def ask(content: Any, path: str = "/generate", **headers: str) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://test") as client:
            return await client.post(path, content=content, headers={"Content-Type": "application/json", **headers})

    return anyio.run(send)


def test_a_good_body_arrives_unchanged() -> None:
    assert ask('{"prompt": "赤い髪", "seed": 0}').json() == {"prompt": "赤い髪", "seed": 0}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "object"),
        (b"\xff\xfe", "JSON"),
        ("[" * 50_000, "JSON"),
        ("{}", "prompt"),
        ('{"prompt": ""}', "prompt"),
        ('{"prompt": "  "}', "prompt"),
        ('{"prompt": 3}', "prompt"),
        ('{"prompt": "a", "stps": 4}', "stps"),
        ('{"prompt": "a", "self": 4}', "self"),
        ('{"prompt": "a", "preview": true}', "preview"),
        ('{"prompt": "a", "steps": 0}', "steps"),
        ('{"prompt": "a", "seed": -1}', "seed"),
        ('{"prompt": "a", "seed": 4294967296}', "seed"),
        ('{"prompt": "a", "guidance_scale": NaN}', "guidance_scale"),
        ('{"prompt": "\\ud800"}', "JSON"),
    ],
)
def test_a_wrong_body_is_400_and_the_message_names_what_is_wrong(body: Any, named: str) -> None:
    response = ask(body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert error["code"] == "request"
    assert named in error["message"]


def test_all_mistakes_are_told_at_once() -> None:
    message = ask('{"prompt": "", "steps": 0, "colour": 1}').json()["error"]["message"]
    assert all(field in message for field in ("prompt", "steps", "colour"))


def test_a_large_body_is_413_whether_announced_or_not() -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(LIMIT // 1024 + 1):
            yield b" " * 1024

    for response in (ask(b" " * (LIMIT + 1)), ask(stream()), ask(b" " * (LIMIT + 1), path="/other")):
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "too_large"
    assert ask(b'{"prompt": "a"}' + b" " * (LIMIT - 15)).status_code == 200


def test_other_content_types_are_415() -> None:
    assert ask("prompt=a", **{"Content-Type": "application/x-www-form-urlencoded"}).status_code == 415
    assert ask('{"prompt": "a"}', **{"Content-Type": ""}).status_code == 415
    assert ask("", path="/other", **{"Content-Type": "text/plain"}).status_code == 415
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert ask("--x--", **form).status_code == 415 and ask("--x--", path="/other", **form).status_code == 200
    assert ask('{"prompt": "a"}', **{"Content-Type": "Application/JSON; charset=utf-8"}).status_code == 200


def test_a_body_that_does_not_come_is_408() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b'{"prompt": '
        await anyio.sleep(30)
        yield b'"a"}'

    response = ask(slow())
    assert response.status_code == 408 and response.json()["error"]["code"] == "timeout"


def test_a_request_without_a_body_needs_no_type() -> None:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://test") as client:
            return await client.post("/other")

    assert anyio.run(send).json() == 0

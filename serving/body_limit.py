"""ASGI middleware that bounds every body: small enough, soon enough and JSON, or refused in our own error shape."""

import asyncio
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.errors import KyaraError, RequestError
from serving.errors import SlowBodyError, TooLargeError, WrongMediaTypeError, answer

LIMIT = 32 * 2**20
"""Bytes: a picture and a mask as base64."""
LARGE = 2**18
"""Bytes that would keep the event loop busy."""


class BodyLimitMiddleware:
    """Refuses bad bodies with 408, 413 or 415; hands good ones on unchanged.

    Args:
        app: what stands behind.
        limit: largest body, bytes.
        seconds: in which a body must have arrived.
        forms: paths that take multipart/form-data, too.
    """

    def __init__(self, app: ASGIApp, limit: int = LIMIT, seconds: float = 30.0, forms: Collection[str] = ()) -> None:
        self.app = app
        self.limit = limit
        self.seconds = seconds
        self.forms = forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            check_media_type(headers, forms=scope["path"] in self.forms)
            async with asyncio.timeout(self.seconds):
                body = await read_body(headers, receive, self.limit)
        except TimeoutError:
            await answer(SlowBodyError(self.seconds))(scope, receive, send)
            return
        except KyaraError as error:
            await answer(error)(scope, receive, send)
            return
        await self.app(scope, replay(body, receive), send)


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises TooLargeError as soon as it is known to exceed `limit`, also without a Content-Length."""
    announced = headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limit:
        raise TooLargeError(limit)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError("the client left before its request was complete.")
        body += message.get("body", b"")
        if len(body) > limit:
            raise TooLargeError(limit)
        if not message.get("more_body", False):
            return bytes(body)


def check_media_type(headers: Headers, *, forms: bool = False) -> None:
    """Raises WrongMediaTypeError unless the body is said to be JSON, or a form where `forms` are taken.

    A page of another site may send anything else, or nothing, without asking the server first (a "simple" request).
    """
    empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    if empty and "content-type" not in headers:
        return
    found = headers.get("content-type", "")
    kind = found.partition(";")[0].strip().lower()
    if kind != "application/json" and not (forms and kind == "multipart/form-data"):
        raise WrongMediaTypeError(found)


async def read(schema: type[BaseModel], http: Request) -> Any:
    """A request's body as its model; a large one is parsed in a thread. Raises RequestError."""
    body = await http.body()
    return parse(schema, body) if len(body) < LARGE else await asyncio.to_thread(parse, schema, body)


def parse(schema: type[BaseModel], body: bytes) -> BaseModel:
    """A JSON body as its model. Raises RequestError."""
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        # The schemas themselves raise RequestError for wrong fields; what is left is no JSON object at all.
        reasons = "; ".join(item["msg"] for item in error.errors(include_url=False))
        hint = f"Send a JSON object with {', '.join(schema.model_fields)}."
        raise RequestError(f"the request is wrong: {reasons}.", hint=hint) from error


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what comes after it (the client's leaving)."""
    pending = [body]

    async def again() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return again

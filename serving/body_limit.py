"""ASGI middleware that bounds every body: small enough, soon enough and JSON, or refused in our own error shape."""

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.errors import KyaraError, RequestError
from serving.errors import TooLargeError, WrongMediaTypeError, answer

LIMIT = 32 * 2**20
"""Bytes: a picture and a mask as base64."""


class BodyLimitMiddleware:
    """Refuses bad bodies with 400, 413 or 415; hands good ones on unchanged.

    Args:
        app: what stands behind.
        limit: largest body, bytes.
    """

    def __init__(self, app: ASGIApp, limit: int = LIMIT) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        try:
            check_media_type(Headers(scope=scope))
            body = await read_body(Headers(scope=scope), receive, self.limit)
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


def check_media_type(headers: Headers) -> None:
    """Raises WrongMediaTypeError unless the body is said to be JSON.

    A page of another site may send anything else, or nothing, without asking the server first (a "simple" request).
    """
    found = headers.get("content-type", "")
    if found.partition(";")[0].strip().lower() != "application/json":
        raise WrongMediaTypeError(found)


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

"""What draws: POST /generate takes any mode by its field, and each row of the product's table has its own route."""

import logging
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from serving.body_limit import read
from serving.bundled import PRODUCT
from serving.documents import documented
from serving.errors import CLIENT_GONE
from serving.request_queue import GoneError
from serving.streaming import stream, wants_events
from serving.submitting import Answer, submit_of

logger = logging.getLogger("bentoml.kyara")

ROUTES: dict[str, type[BaseModel]] = {"/generate": PRODUCT.Request, **PRODUCT.ROUTES}
TOLD = ("prompt", "seed", "confidence")
"""What of an answer's metadata stands in headers too (X-Kyara-Prompt, …; text percent-encoded)."""

router = APIRouter(tags=["draw"])


async def respond(request: Any, http: Request) -> Response:
    """The answer to a checked request, whole or as events. Raises KyaraError."""
    submit = submit_of(http)
    if wants_events(http):
        return stream(submit, request, http)
    try:
        return answered(await submit(request, http))
    except GoneError:
        logger.info("the client left; its generation was stopped")
        return Response(status_code=CLIENT_GONE)


def answered(answer: Answer) -> Response:
    """The content with what made it in the headers; X-Kyara-Seconds counts from arrival."""
    told = {f"X-Kyara-{name.title()}": quote(str(answer.metadata[name])) for name in TOLD if name in answer.metadata}
    headers = {
        **told,
        "X-Kyara-Model": answer.model,
        "X-Kyara-Seconds": f"{answer.waited:.3f}",
        "Cache-Control": "no-store",
    }
    return Response(answer.content, media_type=answer.media_type, headers=headers)


def _add(path: str, schema: type[BaseModel]) -> None:
    async def draw(http: Request) -> Response:
        return await respond(await read(schema, http), http)

    router.add_api_route(path, draw, methods=["POST"], name=path.strip("/"), **documented(schema))


for _path, _schema in ROUTES.items():
    _add(_path, _schema)

"""The FastAPI application behind the port: every route of ours, one error shape, pages of its own.

A module adds routes with an APIRouter in ROUTERS; in a route `submit_of(http)` leads to the queue. A KyaraError that a
route raises becomes the answer of `serving.errors`.
"""

import logging
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from components.errors import KyaraError, RequestError
from components.plugins import resolve
from serving import drawing, information, pages, task_routes
from serving.bundled import PRODUCT
from serving.documents import describe
from serving.errors import CLIENT_GONE, MethodError, NotFoundError, answer, unexpected_error
from serving.request_queue import GoneError

logger = logging.getLogger("bentoml.kyara")

ROUTERS = (drawing.router, task_routes.router, information.router, pages.router)


def build() -> FastAPI:
    """The application; `state.submit` is set when the service starts."""
    application = FastAPIOffline(
        title="Kyara",
        version=_version(),
        description="Pictures of one character or style, by every mode of the model. Errors have one shape.",
        redoc_url=None,
    )
    for router in routers():
        application.include_router(router)
    application.add_exception_handler(KyaraError, _refused)
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(HTTPException, _unrouted)
    application.add_exception_handler(GoneError, _gone)
    application.add_exception_handler(Exception, _failed)
    application.openapi = describe(application)  # type: ignore[method-assign]
    return application


def routers() -> list[APIRouter]:
    """Ours, and those that the product has besides."""
    return [*ROUTERS, *map(resolve, PRODUCT.APIS)]


def paths() -> list[str]:
    """Every path of the routers."""
    return [path for router in routers() for route in router.routes if (path := getattr(route, "path", None))]


async def _refused(_: Request, error: Any) -> Response:
    return answer(error)


async def _invalid(_: Request, error: Any) -> Response:
    told = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors())
    return answer(RequestError(f"the request is wrong: {told[:1000]}."))


async def _unrouted(http: Request, error: Any) -> Response:
    if error.status_code == 405:
        response = answer(MethodError(f"{http.method} is no method of {http.url.path[:200]!r}.", hint="See /docs."))
        response.headers.update(error.headers or {})
        return response
    return answer(NotFoundError(f"there is no {http.url.path[:200]!r}.", hint="See /docs."))


async def _gone(_: Request, __: Any) -> Response:
    logger.info("the client left; its generation was stopped")
    return Response(status_code=CLIENT_GONE)


async def _failed(_: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return answer(unexpected_error())


def _version() -> str:
    try:
        return version("kyara")
    except PackageNotFoundError:
        return "0"

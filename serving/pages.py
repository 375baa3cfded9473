"""The service's own `/` (BentoML's loads a tag manager from outside) and `GET /model`."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from components.errors import KyaraError
from serving.errors import answer

WEB = Path(__file__).parent / "web"
LANGUAGES = ("ja", "en")
# The browser itself refuses any request to another host.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline'",
        "base-uri 'none'",
    )
)


@cache
def page() -> str:
    """The form, with the words of every language inside."""
    words = {language: json.loads((WEB / f"{language}.json").read_text(encoding="utf-8")) for language in LANGUAGES}
    inside = json.dumps(words, ensure_ascii=False).replace("</", "<\\/")
    return (WEB / "page.html").read_text(encoding="utf-8").replace("__WORDS__", inside)


async def index(_: Request) -> Response:
    """The form."""
    return HTMLResponse(page(), headers={"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"})


async def model(_: Request) -> Response:
    """The card of the model that is served now."""
    service: Any = bentoml.get_current_service()
    try:
        return JSONResponse(service.served().card)
    except KyaraError as error:
        return answer(error)


application = Starlette(routes=[Route("/", index), Route("/model", model)])

"""The service's own `/` (BentoML's loads a tag manager from outside)."""

import json
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

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


router = APIRouter()


@cache
def page() -> str:
    """The form, with the words of every language inside."""
    words = {language: json.loads((WEB / f"{language}.json").read_text(encoding="utf-8")) for language in LANGUAGES}
    inside = json.dumps(words, ensure_ascii=False).replace("</", "<\\/")
    return (WEB / "page.html").read_text(encoding="utf-8").replace("__WORDS__", inside)


@router.get("/", include_in_schema=False)
async def index() -> Response:
    """The form."""
    return HTMLResponse(page(), headers={"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"})

"""ASGI middleware around everything: an id for each request, a line in the log, numbers, and who is still inside."""

import logging
import re
import secrets
import time
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import CLIENT_GONE
from serving.logs import FACTS, REQUEST_ID

logger = logging.getLogger("bentoml.kyara")

HEADER = "X-Request-Id"
_GOOD = re.compile(r"[A-Za-z0-9._-]{1,64}")

Count = Callable[[str, int, float], None]


class Visits:
    """How many requests are inside, and what is done when one leaves."""

    def __init__(self) -> None:
        self.inside = 0
        self.closing = False
        """Whether connections shall end with their answers."""
        self.count: Count | None = None
        """path, status, seconds of an ended request; set when the metrics are there."""
        self.told: Callable[[], None] | None = None

    def close(self) -> None:
        """Let every connection end with its answer from now on."""
        self.closing = True

    def tell(self) -> None:
        """Bring the numbers up to date."""
        if self.told is not None:
            self.told()


class ObserveMiddleware:
    """Takes X-Request-Id from the client where it is sound, or makes one, and sends it back.

    Args:
        app: what stands behind.
        visits: kept up to date.
        quiet: paths that are neither counted nor logged: probes.
    """

    def __init__(self, app: ASGIApp, visits: Visits, quiet: Collection[str] = ()) -> None:
        self.app = app
        self.visits = visits
        self.quiet = quiet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.quiet:
            await self.app(scope, receive, send)
            return
        name, began, status = request_id(Headers(scope=scope)), time.perf_counter(), CLIENT_GONE
        scope.setdefault("state", {})
        token = REQUEST_ID.set(name)

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = name
                if self.visits.closing:
                    headers["Connection"] = "close"
            await send(message)

        self.visits.inside += 1
        try:
            await self.app(scope, receive, tell)
        finally:
            self.visits.inside -= 1
            self._left(scope, status, time.perf_counter() - began)
            REQUEST_ID.reset(token)

    def _left(self, scope: Scope, status: int, seconds: float) -> None:
        if self.visits.count is not None:
            self.visits.count(scope["path"], status, seconds)
        facts = {"method": scope["method"], "path": scope["path"][:200], "status": status, "seconds": round(seconds, 4)}
        facts |= {"key": key} if (key := scope["state"].get("key")) else {}
        logger.info("%s %s %d", scope["method"], scope["path"][:200], status, extra={FACTS: facts})


def request_id(headers: Headers) -> str:
    """The client's own where it is short and plain, else a new one."""
    given = headers.get(HEADER, "")
    return given if _GOOD.fullmatch(given) else secrets.token_hex(12)

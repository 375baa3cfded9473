"""ASGI middleware that puts our application before BentoML's: of BentoML's own paths only the listed ones answer."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

THEIRS = ("/metrics", "/schema.json")
"""What BentoML answers: Prometheus' numbers, and the schema that its client reads."""


class FrontMiddleware:
    """Sends everything but THEIRS to `ours`.

    Args:
        app: BentoML.
        before: called before BentoML answers.
    """

    def __init__(self, app: ASGIApp, ours: ASGIApp, before: Callable[[], None]) -> None:
        self.app = app
        self.ours = ours
        self.before = before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in THEIRS:
            await self.ours(scope, receive, send)
        else:
            self.before()
            await self.app(scope, receive, send)

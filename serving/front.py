"""ASGI middleware that puts our application before BentoML's: of BentoML's own paths only the listed ones answer."""

from starlette.types import ASGIApp, Receive, Scope, Send

THEIRS = ("/metrics", "/schema.json")
"""What BentoML answers: Prometheus' numbers, and the schema that its client reads."""


class FrontMiddleware:
    """Sends everything but THEIRS to `ours`.

    Args:
        app: BentoML.
    """

    def __init__(self, app: ASGIApp, ours: ASGIApp) -> None:
        self.app = app
        self.ours = ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chosen = self.ours if scope["type"] == "http" and scope["path"] not in THEIRS else self.app
        await chosen(scope, receive, send)

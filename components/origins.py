"""Which Host and Origin our servers answer: loopback, and what the settings name.

Every page in a browser can send requests to loopback. Its Origin header tells where it comes from; and where it has a
name of its own resolve to loopback (DNS rebinding), the Host header still holds that name. Programs send no Origin.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from components.errors import RequestError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ANY = "*"
_DEFAULT_PORTS = {"http": 80, "https": 443}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class ForeignOriginError(RequestError):
    """A request under a name that is not ours, or from a page of another server."""

    code = "foreign_origin"


def check_host(host: str, allowed: Collection[str] = ()) -> None:
    """Raise ForeignOriginError unless a Host header names loopback or a name in `allowed` (`*`: any)."""
    if ANY not in allowed and _split(f"//{host}")[0] not in (*LOOPBACK, *allowed):
        raise ForeignOriginError(f"host {host!r} is not served here.", hint="Name it in KYARA_ALLOWED_HOSTS.")


def check_origin(origin: str, host: str, allowed: Collection[str] = ()) -> None:
    """Raise ForeignOriginError unless an Origin header is the server's own or in `allowed`.

    Args:
        origin: `scheme://name[:port]`, or `null`.
        host: the Host header of the same request. The scheme is not compared: a proxy may speak TLS for us.
        allowed: origins as a browser sends them, without a path.
    """
    scheme = origin.partition(":")[0]
    own = _split(origin, scheme)
    if origin not in allowed and (own[0] is None or own != _split(f"//{host}", scheme)):
        raise ForeignOriginError(f"origin {origin!r} may not ask.", hint="Name it in KYARA_ALLOWED_ORIGINS.")


def _split(address: str, scheme: str = "") -> tuple[str | None, int | None]:
    """Name and port of an address, the scheme's default where it has no port; None, None for a malformed one."""
    try:
        parts = urlsplit(address)
        return parts.hostname, parts.port or _DEFAULT_PORTS.get(scheme)
    except ValueError:
        return None, None


class TrustedOriginMiddleware:
    """ASGI middleware that lets only requests of our own pages, of programs and of listed origins pass.

    Args:
        app: the application behind it.
        refuse: makes the answer to a refused request; a refused WebSocket is closed before it opens.
        hosts: names besides loopback.
        origins: origins besides the server's own.
        any_host: paths that answer under any name, such as the probes that come by a machine's address.
    """

    def __init__(
        self,
        app: Application,
        refuse: Callable[[ForeignOriginError], Application],
        *,
        hosts: Collection[str] = (),
        origins: Collection[str] = (),
        any_host: Collection[str] = (),
    ) -> None:
        self.app = app
        self.refuse = refuse
        self.hosts = hosts
        self.origins = origins
        self.any_host = any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                self._check(scope)
            except ForeignOriginError as error:
                if scope["type"] == "http":
                    await self.refuse(error)(scope, receive, send)
                else:
                    await send({"type": "websocket.close", "code": 1008})
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = _header(scope["headers"], b"host") or ""
        if scope["path"] not in self.any_host:
            check_host(host, self.hosts)
        origin = _header(scope["headers"], b"origin")
        if origin is not None:
            check_origin(origin, host, self.origins)


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key == name), None)

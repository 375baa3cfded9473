"""ASGI middleware at the door: who may ask. With keys everybody needs one; without, only this machine may ask."""

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from components.errors import KyaraError
from serving.errors import KeyRefusedError, answer
from serving.keys import Keys


class AdmissionMiddleware:
    """Refuses with 401 and 429. The key's name lies in `scope["state"]["key"]`, "" without keys.

    Args:
        app: what stands behind.
        keys: None: only requests from loopback pass, whatever address the server is bound to.
        free: paths that answer anybody.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None, free: Collection[str] = ()) -> None:
        self.app = app
        self.keys = keys
        self.free = free

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self.free:
            try:
                scope.setdefault("state", {})["key"] = self._admit(scope)
            except KyaraError as error:
                await answer(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _admit(self, scope: Scope) -> str:
        if self.keys is not None:
            return self.keys.admit(secret_of(Headers(scope=scope)))
        if not is_local(scope.get("client")):
            raise KeyRefusedError("this server has no keys, so that only its own machine may ask.")
        return ""


def secret_of(headers: Headers) -> str:
    """What `Authorization: Bearer` or `X-API-Key` holds; "" where neither is sent."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def is_local(client: tuple[str, int] | None) -> bool:
    """Whether a connection comes from this machine; one through a Unix socket has no address."""
    if client is None or not client[0]:
        return True
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

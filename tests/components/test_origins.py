"""Which requests pass, by their Host and Origin headers. tests/serving and tests/flows ask the real servers."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from components.errors import KyaraError
from components.origins import Application, ForeignOriginError, TrustedOriginMiddleware, check_host, check_origin
from components.settings import Settings


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:3000", "127.0.0.1:3000", "[::1]:3000", "LOCALHOST", "ok.example:1"]
)
def test_loopback_and_named_hosts_are_served(host: str) -> None:
    check_host(host, ("ok.example",))


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example:3000", "127.0.0.1.nip.example", "10.0.0.1", "[::1", "0.0.0.0:3000"],
)
def test_other_hosts_are_refused_unless_all_are_allowed(host: str) -> None:
    with pytest.raises(ForeignOriginError, match="KYARA_ALLOWED_HOSTS"):
        check_host(host, ("ok.example",))
    check_host(host, ("*",))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:3000", "127.0.0.1:3000"),
        ("https://ok.example", "ok.example"),
        ("https://ok.example", "ok.example:443"),
        ("http://[::1]:3000", "[::1]:3000"),
        ("https://listed.example", "127.0.0.1:3000"),
    ],
)
def test_own_and_listed_origins_pass(origin: str, host: str) -> None:
    check_origin(origin, host, ("https://listed.example",))


@pytest.mark.parametrize(
    "origin",
    ["null", "", "https://evil.example", "http://127.0.0.1:4000", "http://localhost:3000", "http://[::1", "http://x:y"],
)
def test_other_origins_are_refused(origin: str) -> None:
    with pytest.raises(ForeignOriginError, match="KYARA_ALLOWED_ORIGINS"):
        check_origin(origin, "127.0.0.1:3000", ("https://listed.example",))


def ask(kind: str, **headers: str) -> list[Any]:
    """What a guarded application sends; one that passes sends `passed`."""
    sent: list[Any] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "passed"})

    def refuse(error: KyaraError) -> Application:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": error.code})

        return answer

    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": "/", "headers": encoded}
    asyncio.run(TrustedOriginMiddleware(inside, refuse)(scope, None, send))  # type: ignore[arg-type]
    return sent


def test_requests_and_websockets_of_foreign_pages_are_refused() -> None:
    own = {"host": "127.0.0.1:1"}
    for kind, refusal in (("http", "foreign_origin"), ("websocket", "websocket.close")):
        assert ask(kind, **own) == ask(kind, **own, origin="http://127.0.0.1:1") == ["passed"]
        assert ask(kind, **own, origin="https://evil.example") == ask(kind, host="evil.example") == [refusal]
        assert ask(kind) == [refusal]
    assert ask("lifespan") == ["passed"]


def test_the_settings_list_names_by_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KYARA_ALLOWED_HOSTS", "a.example, b.example,")
    monkeypatch.setenv("KYARA_ALLOWED_ORIGINS", "https://a.example")
    assert Settings().allowed_hosts == ("a.example", "b.example")
    assert Settings().allowed_origins == ("https://a.example",)

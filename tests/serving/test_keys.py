"""Who may ask and how often: the keys' file, its rotation, the bucket, and the door."""

import hashlib
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from serving.admission import AdmissionMiddleware, is_local
from serving.errors import KeyRefusedError, RateError
from serving.keys import Keys

OLD, NEW = "an-old-key-of-20-char", "a-new-key-of-20-chars"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def keys(file: Path, *lines: str, per_minute: float = 60, burst: int = 3, clock: Any = None) -> Keys:
    write(file, *lines)
    return Keys(file, per_minute=per_minute, burst=burst, clock=clock or Clock())


def write(file: Path, *lines: str) -> None:
    """Another file in the place of the old one, as `mv` leaves it."""
    new = file.with_suffix(".new")
    new.write_text("\n".join(lines), encoding="utf-8")
    new.replace(file)


def test_several_keys_plain_or_hashed_each_with_its_name(tmp_path: Path) -> None:
    hashed = f"sha256:{hashlib.sha256(NEW.encode()).hexdigest()}"
    known = keys(tmp_path / "keys", "# ours", f"studio {OLD}", "", f"bot {hashed} 5  # slow")
    assert (known.admit(OLD), known.admit(NEW)) == ("studio", "bot")
    for wrong in ("", "x", OLD[:-1], OLD + "x", hashed, "キー", "\ud800"):
        with pytest.raises(KeyRefusedError):
            known.admit(wrong)


def test_the_file_is_read_again_when_it_changes_and_a_broken_one_locks_nobody_out(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    known = keys(file, f"studio {OLD}")
    write(file, f"studio {OLD}", f"studio2 {NEW}")
    assert (known.admit(OLD), known.admit(NEW)) == ("studio", "studio2")
    write(file, f"studio2 {NEW}")
    with pytest.raises(KeyRefusedError):
        known.admit(OLD)
    for broken in ("studio2", "", "a b", f"studio2 {NEW} never"):
        write(file, broken)
        assert known.admit(NEW) == "studio2"
        known._buckets.clear()
    file.unlink()
    assert known.admit(NEW) == "studio2"


def test_a_key_that_asks_too_often_waits_and_the_others_do_not(tmp_path: Path) -> None:
    clock = Clock()
    known = keys(tmp_path / "keys", f"one {OLD} 30", f"two {NEW}", clock=clock)
    for _ in range(3):
        known.admit(OLD)
    with pytest.raises(RateError) as refusal:
        known.admit(OLD)
    assert refusal.value.retry_after == 2 and "30 times" in refusal.value.message
    assert known.admit(NEW) == "two"
    clock.now = 2
    assert known.admit(OLD) == "one"
    with pytest.raises(RateError):
        known.admit(OLD)


@pytest.mark.parametrize(
    ("client", "local"),
    [
        (("127.0.0.1", 5), True),
        (("127.3.2.1", 5), True),
        (("::1", 5), True),
        (("::ffff:127.0.0.1", 5), True),
        (None, True),
        (("10.0.0.1", 5), False),
        (("::ffff:10.0.0.1", 5), False),
        (("fe80::1", 5), False),
        (("testclient", 5), False),
    ],
)
def test_without_keys_only_this_machine_may_ask(client: Any, local: bool) -> None:
    assert is_local(client) is local


def ask(keys: Keys | None, client: str = "127.0.0.1", path: str = "/", **headers: str) -> httpx.Response:
    async def show(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.scope.get("state", {}).get("key", "free"))

    inner = Starlette(routes=[Route("/", show), Route("/livez", show)])
    door = AdmissionMiddleware(inner, keys, free=["/livez"])

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(door, client=(client, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
            return await browser.get(path, headers=headers)

    return anyio.run(send)


def test_the_door_asks_for_a_key_in_either_header_and_lets_probes_pass(tmp_path: Path) -> None:
    known = keys(tmp_path / "keys", f"studio {OLD}", burst=2)
    refused = ask(known)
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["code"] == "key"
    assert ask(known, "10.0.0.1", "/livez").text == "free"
    assert ask(known, "10.0.0.1", Authorization=f"bearer {OLD}").text == "studio"
    assert ask(known, **{"X-API-Key": OLD}).text == "studio"
    limited = ask(known, **{"X-API-Key": OLD})
    assert limited.status_code == 429 and int(limited.headers["retry-after"]) == 1


def test_a_server_without_keys_answers_no_other_machine() -> None:
    assert ask(None).status_code == 200
    refused = ask(None, "192.168.1.7")
    assert refused.status_code == 401 and "no keys" in refused.json()["error"]["message"]

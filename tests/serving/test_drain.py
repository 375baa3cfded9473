"""The end of a service: SIGTERM under load, and nothing that was accepted is lost."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from serving.drain import Drain
from serving.errors import DrainingError
from tests.serving.running import QUICK, SLOW, Running, running, until


def keep_asking(service: Running) -> list[httpx.Response]:
    """Answers until one says that the service ends; a connection that is refused was not accepted."""
    answers: list[httpx.Response] = []
    while not answers or answers[-1].status_code in (200, 429):
        try:
            answers.append(service.post("/generate", {**QUICK, "steps": 10}))
        except httpx.ConnectError:
            break
    return answers


@pytest.mark.parametrize("turn", range(2))
def test_what_was_accepted_is_answered_and_nothing_new_is_taken(bento: tuple[Path, str], turn: int) -> None:
    with running(*bento, drain_seconds="2", request_cost="20000") as service, ThreadPoolExecutor(8) as pool:
        task = service.post("/generate/submit", {**SLOW, "n": 2}).json()["task_id"]
        slow = pool.submit(service.post, "/generate", SLOW)
        asking = [pool.submit(keep_asking, service) for _ in range(4)]
        until(lambda: service.metric('kyara_requests_total{path="/generate",status="200"}') > 0)
        service.supervisor().send_signal(signal.SIGTERM)
        until(lambda: service.get("/readyz").status_code == 503, 10)
        refused = service.post("/generate", QUICK)
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "draining"
        assert int(refused.headers["retry-after"]) >= 1 and refused.headers["connection"] == "close"
        assert service.get("/livez").status_code == 200
        assert slow.result().status_code == 200
        until(lambda: service.get("/generate/status", params={"task_id": task}).json()["status"] == "completed")
        assert service.get("/generate/get", params={"task_id": task}).status_code == 200
        answers = [each for client in asking for each in client.result()]
        assert {each.status_code for each in answers} <= {200, 429, 503}
        service.process.wait(30)
        assert service.process.returncode == 0


def test_it_ends_when_nothing_is_open_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KYARA_DRAIN_SECONDS", "0")

    async def scene() -> None:
        inside, ended, told = 1, asyncio.Event(), []
        drain = Drain(lambda: inside, lambda: told.append("begun"))
        drain.check()
        for _ in range(2):
            drain.begin(ended.set)
        await asyncio.sleep(0.2)
        assert drain.draining and told == ["begun"] and not ended.is_set()
        with pytest.raises(DrainingError):
            drain.check()
        inside = 0
        await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(scene())


def test_work_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("KYARA_DRAIN_SECONDS", "0")
    monkeypatch.setenv("KYARA_DRAIN_MOST_SECONDS", "0.1")

    async def scene() -> None:
        ended = asyncio.Event()
        Drain(lambda: 3).begin(ended.set)
        await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(scene())
    assert "3 requests and tasks are given up" in caplog.text

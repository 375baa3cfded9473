"""Tasks on a real service: progress, answers, cancelling that stops the work, and BentoML's own client."""

import asyncio
from typing import Any

import pytest

from tests.serving.running import QUICK, SLOW, Running, until

LONG = {**SLOW, "n": 16}


def submit(service: Running, path: str, body: dict[str, Any]) -> str:
    response = service.post(f"{path}/submit", body)
    assert response.status_code == 202
    return str(response.json()["task_id"])


def state(service: Running, task: str) -> dict[str, Any]:
    return dict(service.get("/generate/status", params={"task_id": task}).json())


def test_a_task_tells_how_far_it_is_and_keeps_its_answer(shared: Running) -> None:
    task = submit(shared, "/txt2img", SLOW)
    assert shared.get("/txt2img/get", params={"task_id": task}).json()["error"]["code"] == "unfinished"
    until(lambda: state(shared, task)["done"] > 0)
    assert state(shared, task)["total"] == 50 and state(shared, task)["status"] == "in_progress"
    until(lambda: state(shared, task)["status"] == "completed")
    answers = [shared.get(f"{path}/get", params={"task_id": task}) for path in ("/txt2img", "/generate")]
    assert answers[0].content == answers[1].content == shared.post("/generate", SLOW).content
    assert answers[0].headers["x-kyara-seed"] == "0"


def test_a_cancelled_task_stops_between_two_steps_and_frees_the_engine(shared: Running) -> None:
    task = submit(shared, "/generate", LONG)
    until(lambda: state(shared, task)["done"] > 0)
    shared.put("/generate/cancel", params={"task_id": task})
    until(lambda: shared.metric("kyara_queue_depth") == 0, 10)
    stopped = state(shared, task)
    assert stopped["status"] == "canceled" and stopped["done"] < 16 * 50
    assert shared.get("/generate/get", params={"task_id": task}).status_code == 410
    assert shared.post("/generate", QUICK).status_code == 200


def test_a_task_that_fails_says_why(shared: Running) -> None:
    task = submit(shared, "/generate", {**QUICK, "width": 33})
    until(lambda: state(shared, task)["status"] == "failed")
    assert "width" in state(shared, task)["error"]["message"]
    response = shared.get("/generate/get", params={"task_id": task})
    assert response.status_code == 400 and response.json()["error"]["code"] == "request"


@pytest.mark.parametrize("call", ["status", "get", "cancel", "retry"])
def test_an_unknown_task_is_404(shared: Running, call: str) -> None:
    method = {"cancel": shared.put, "retry": shared.post}.get(call, shared.get)
    response = method(f"/generate/{call}", params={"task_id": "none"})
    assert response.status_code == 404 and response.json()["error"]["code"] == "not_found"


def test_wrong_requests_are_refused_before_they_become_tasks(shared: Running) -> None:
    assert shared.post("/animate/submit", {"prompt": "a", "frames": 1000}).status_code == 400


def test_ended_tasks_make_room_and_those_under_way_do_not(shared: Running) -> None:
    first = submit(shared, "/generate", QUICK)
    until(lambda: state(shared, first).get("status") == "completed")
    under_way = [submit(shared, "/generate", LONG) for _ in range(6)]
    try:
        assert state(shared, first)["error"]["code"] == "not_found"
        refused = shared.post("/generate/submit", QUICK)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    finally:
        for task in under_way:
            shared.put("/generate/cancel", params={"task_id": task})
    until(lambda: shared.metric("kyara_queue_depth") == 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of BentoML's own imports
def test_bentomls_client_submits_follows_and_cancels(shared: Running) -> None:
    """Its asynchronous one: the other cannot submit anything (1.4.39 looks for a field that it does not have)."""
    import bentoml

    async def reaches(task: Any, status: str) -> None:
        async with asyncio.timeout(60):
            while (await task.get_status()).value != status:
                await asyncio.sleep(0.05)

    async def scene() -> None:
        async with bentoml.AsyncHTTPClient(shared.url) as client:
            task = await client.generate.submit(**QUICK)
            await reaches(task, "completed")
            await reaches(await task.retry(), "completed")
            long = await client.generate.submit(**LONG)
            await long.cancel()
            await reaches(long, "canceled")

    asyncio.run(scene())

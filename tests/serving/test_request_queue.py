"""The queue: bounded, in order, cancelled between steps, with a free event loop."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from components.contracts import Done, Preview
from components.errors import KyaraError, RequestError
from serving.errors import OverloadedError
from serving.request_queue import ClientGoneError, RequestQueue

Events = Generator[Preview | Done, None, None]


class Drawing:
    """A generation of `steps` steps of 20 ms that notes who ran it and how it ended."""

    def __init__(self, steps: int = 3, error: Exception | None = None) -> None:
        self.steps, self.error = steps, error
        self.done = 0
        self.closed = False
        self.threads: set[str] = set()

    def __call__(self) -> Events:
        try:
            for step in range(self.steps):
                self.threads.add(threading.current_thread().name)
                time.sleep(0.02)
                self.done = step + 1
                yield Preview(self.done, self.steps)
            if self.error is not None:
                raise self.error
            yield Done(b"png", "image/png", {"seed": 0})
        finally:
            self.closed = True


async def never() -> None:
    await asyncio.Event().wait()


async def run(queue: RequestQueue, start: Callable[[], Events], gone: Callable[[], Any]) -> Done:
    with queue.place() as drive:
        return await drive(start, gone)


def test_a_generation_runs_in_the_worker_thread_while_the_loop_stays_free() -> None:
    async def scene() -> int:
        queue, drawing, ticks = RequestQueue(2), Drawing(10), 0
        work = asyncio.create_task(run(queue, drawing, never))
        while not work.done():
            await asyncio.sleep(0.005)
            ticks += 1
        assert work.result().content == b"png"
        assert drawing.threads == {"kyara-engine_0"}
        assert drawing.closed
        assert queue.depth == 0
        queue.close()
        return ticks

    assert asyncio.run(scene()) > 10


def test_first_come_first_served_and_one_at_a_time() -> None:
    async def scene() -> None:
        queue, order = RequestQueue(3), []

        async def ask(name: int) -> None:
            await run(queue, Drawing(2), never)
            order.append(name)

        await asyncio.gather(*(ask(name) for name in range(3)))
        assert order == [0, 1, 2]
        queue.close()

    asyncio.run(scene())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def scene() -> None:
        queue = RequestQueue(2)
        inside = [asyncio.create_task(run(queue, Drawing(), never)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as refusal, queue.place():
            pytest.fail("something was done for a request that has no place")
        assert refusal.value.retry_after >= 1
        await asyncio.gather(*inside)
        await run(queue, Drawing(), never)
        queue.close()

    asyncio.run(scene())


@pytest.mark.parametrize("waiting", [False, True])
def test_a_client_that_leaves_stops_its_generation_and_frees_its_place(waiting: bool) -> None:
    async def scene() -> None:
        queue, first, left = RequestQueue(2), Drawing(20), Drawing(20)
        other = asyncio.create_task(run(queue, first, never)) if waiting else None
        await asyncio.sleep(0)
        with pytest.raises(ClientGoneError):
            await run(queue, left, lambda: asyncio.sleep(0.07))
        assert left.done < 20
        assert waiting == (left.done == 0)
        assert left.closed != waiting
        assert queue.depth == (1 if waiting else 0)
        if other is not None:
            assert (await other).content == b"png"
        queue.close()

    asyncio.run(scene())


@pytest.mark.parametrize("error", [RequestError("steps 99 is out of bounds."), ValueError("bug")])
def test_errors_reach_the_caller_and_the_queue_goes_on(error: Exception) -> None:
    async def scene() -> None:
        queue = RequestQueue(1)
        with pytest.raises(type(error)):
            await run(queue, Drawing(1, error), never)
        assert (await run(queue, Drawing(1), never)).content == b"png"
        queue.close()

    asyncio.run(scene())


def test_a_generation_without_an_answer_is_an_error() -> None:
    def nothing() -> Events:
        yield Preview(1, 1)

    async def scene() -> None:
        queue = RequestQueue(1)
        with pytest.raises(KyaraError, match="without an answer"):
            await run(queue, nothing, never)
        queue.close()

    asyncio.run(scene())

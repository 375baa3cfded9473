"""The queue: bounded, in order, cancelled between steps, with a free event loop."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from contextlib import aclosing

import pytest

from components.contracts import Done, Preview
from components.errors import KyaraError, RequestError
from serving.errors import DeadlineError, OverloadedError
from serving.request_queue import LONGEST_PROMISE, GoneError, RequestQueue

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


async def run(queue: RequestQueue, start: Callable[[], Events], seconds: float | None = None) -> Done:
    return await queue.submit(start, seconds=seconds).result()


def test_a_generation_runs_in_the_worker_thread_while_the_loop_stays_free() -> None:
    async def scene() -> int:
        queue, drawing, ticks = RequestQueue(2), Drawing(10), 0
        work = asyncio.create_task(run(queue, drawing))
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
            await run(queue, Drawing(2))
            order.append(name)

        await asyncio.gather(*(ask(name) for name in range(3)))
        assert order == [0, 1, 2]
        queue.close()

    asyncio.run(scene())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def scene() -> None:
        queue = RequestQueue(2)
        inside = [asyncio.create_task(run(queue, Drawing())) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as refusal:
            queue.submit(lambda: pytest.fail("something was done for a request that has no place"))
        assert refusal.value.retry_after >= 1
        await asyncio.gather(*inside)
        await run(queue, Drawing())
        queue.close()

    asyncio.run(scene())


def test_a_crowd_that_is_refused_is_told_to_come_back_one_after_the_other() -> None:
    async def scene() -> None:
        queue = RequestQueue(1)
        inside = asyncio.create_task(run(queue, Drawing(20)))
        await asyncio.sleep(0)
        told = []
        for _ in range(100):
            with pytest.raises(OverloadedError) as refusal:
                queue.submit(Drawing())
            told.append(refusal.value.retry_after)
        assert told == sorted(told) and told[0] < told[30] < told[50] <= told[-1] == LONGEST_PROMISE
        await inside
        queue.close()

    asyncio.run(scene())


@pytest.mark.parametrize("waiting", [False, True])
def test_a_client_that_leaves_stops_its_generation_and_frees_its_place(waiting: bool) -> None:
    async def scene() -> None:
        queue, first, left = RequestQueue(2), Drawing(20), Drawing(20)
        other = asyncio.create_task(run(queue, first)) if waiting else None
        await asyncio.sleep(0)
        job = queue.submit(left).watch(asyncio.sleep(0.07))
        with pytest.raises(GoneError):
            await job.result()
        await until(lambda: queue.depth == (1 if waiting else 0))
        assert left.done < 20
        assert waiting == (left.done == 0)
        assert left.closed != waiting
        if other is not None:
            assert (await other).content == b"png"
        assert (await run(queue, Drawing(1))).content == b"png"
        queue.close()

    asyncio.run(scene())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("waiting", [False, True])
def test_an_answer_that_takes_too_long_is_stopped(waiting: bool) -> None:
    async def scene() -> None:
        queue, slow = RequestQueue(2), Drawing(1000)
        other = queue.submit(Drawing(30)) if waiting else None
        with pytest.raises(DeadlineError, match=r"0\.1 s"):
            await run(queue, slow, seconds=0.1)
        assert slow.done < 1000 and slow.closed != waiting
        if other is not None:
            await other.result()
        assert queue.depth == queue.busy == 0
        queue.close()

    asyncio.run(scene())


def test_a_timeout_of_the_generation_itself_is_no_deadline() -> None:
    async def scene() -> None:
        queue = RequestQueue(1)
        with pytest.raises(TimeoutError, match="the reader"):
            await run(queue, Drawing(1, TimeoutError("the reader")), seconds=60)
        queue.close()

    asyncio.run(scene())


def test_as_many_are_drawn_at_once_as_the_generator_can_and_the_rest_waits() -> None:
    async def scene() -> None:
        parallel = 3
        queue = RequestQueue(8, lambda: parallel)
        drawings = [Drawing(10) for _ in range(5)]
        jobs = [queue.submit(drawing) for drawing in drawings]
        await until(lambda: all(drawing.done for drawing in drawings[:3]))
        assert queue.busy == 3 and queue.depth == 5 and not any(drawing.done for drawing in drawings[3:])
        parallel = 1
        await asyncio.gather(*(job.result() for job in jobs))
        assert len(set.union(*(drawing.threads for drawing in drawings[:3]))) > 1
        assert queue.busy == queue.depth == 0
        queue.close()

    asyncio.run(scene())


def test_events_come_as_they_are_made_and_who_reads_slowly_holds_nobody_up() -> None:
    async def scene() -> None:
        queue, drawing = RequestQueue(1), Drawing(10)
        events = []
        async with aclosing(queue.submit(drawing).events()) as told:
            async for event in told:
                events.append(event)
                await asyncio.sleep(0.07)
        *previews, done = events
        assert isinstance(done, Done) and previews
        assert all(isinstance(event, Preview) for event in previews)
        assert [event.done for event in previews] == sorted({event.done for event in previews}) and len(previews) < 10
        queue.close()

    asyncio.run(scene())


def test_leaving_the_events_stops_the_work() -> None:
    async def scene() -> None:
        queue, drawing = RequestQueue(1), Drawing(1000)
        async with aclosing(queue.submit(drawing).events()) as told:
            async for _ in told:
                break
        await until(lambda: queue.depth == 0)
        assert drawing.closed and drawing.done < 1000
        queue.close()

    asyncio.run(scene())


@pytest.mark.parametrize("error", [RequestError("steps 99 is out of bounds."), ValueError("bug")])
def test_errors_reach_the_caller_and_the_queue_goes_on(error: Exception) -> None:
    async def scene() -> None:
        queue = RequestQueue(1)
        with pytest.raises(type(error)):
            await run(queue, Drawing(1, error))
        assert (await run(queue, Drawing(1))).content == b"png"
        queue.close()

    asyncio.run(scene())


def test_a_generation_without_an_answer_is_an_error() -> None:
    def nothing() -> Events:
        yield Preview(1, 1)

    async def scene() -> None:
        queue = RequestQueue(1)
        with pytest.raises(KyaraError, match="without an answer"):
            await run(queue, nothing)
        queue.close()

    asyncio.run(scene())

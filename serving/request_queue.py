"""The queue before the engine: bounded, first come first served, one generation at a time in a worker thread.

BentoML's own bound answers 429 without Retry-After, and a synchronous endpoint exceeds it (BentoML#5642).
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from components.contracts import Done, Preview
from components.errors import KyaraError
from serving.errors import OverloadedError

Events = Generator[Preview | Done, None, None]


class ClientGoneError(Exception):
    """Nobody waits for the answer any more; the generation was stopped between two steps."""


class Run(Protocol):
    """See RequestQueue.place."""

    async def __call__(self, start: Callable[[], Events], gone: Callable[[], Coroutine[None, None, None]]) -> Done: ...


class RequestQueue:
    """At most `limit` requests in work or waiting. Steps run in the worker thread, so the event loop stays free.

    A request takes its place before anything is done for it, and gives it back at the end:

        with queue.place() as run:
            asked = await asyncio.to_thread(read, request)
            done = await run(lambda: generator.generate(asked), gone)
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.depth = 0
        self._seconds = 1.0
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kyara-engine")

    @property
    def retry_after(self) -> int:
        """Seconds until a place is likely to be free: the mean time of recent generations, whole and at least 1."""
        return max(1, math.ceil(self._seconds))

    @contextmanager
    def place(self) -> Iterator[Run]:
        """Take a place for the block; yields what drives a generation. Raises OverloadedError where none is left."""
        if self.depth >= self.limit:
            message = f"{self.depth} requests are in work or waiting, which is the limit."
            raise OverloadedError(message, retry_after=self.retry_after)
        self.depth += 1
        try:
            yield self._run
        finally:
            self.depth -= 1

    async def _run(self, start: Callable[[], Events], gone: Callable[[], Coroutine[None, None, None]]) -> Done:
        """Wait for a turn, then drive `start()` to its end.

        Args:
            start: makes the generator; called when the turn has come, so that it sees the model of that moment.
            gone: returns when the client has left.

        Raises:
            ClientGoneError: `gone` returned first.
            KyaraError: whatever the generation refuses.
        """
        work, left = asyncio.create_task(self._work(start)), asyncio.create_task(gone())
        try:
            await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientGoneError
            return work.result()
        finally:
            left.cancel()
            work.cancel()
            await asyncio.gather(work, left, return_exceptions=True)

    async def _work(self, start: Callable[[], Events]) -> Done:
        async with self._turn:
            began = time.perf_counter()
            done = await self._drive(start())
            self._seconds += 0.3 * (time.perf_counter() - began - self._seconds)
            return done

    async def _drive(self, events: Events) -> Done:
        """One hop to the thread per step. Closing the generator waits there behind a step that still runs."""
        loop = asyncio.get_running_loop()
        try:
            while (event := await loop.run_in_executor(self._thread, next, events, None)) is not None:
                if isinstance(event, Done):
                    return event
            raise KyaraError("the generation ended without an answer.")
        finally:
            await asyncio.shield(loop.run_in_executor(self._thread, events.close))

    def close(self) -> None:
        """Let the thread end once its step has."""
        self._thread.shutdown(wait=False, cancel_futures=True)

"""The queue before the engine: bounded, first come first served, as many at once as the generator can draw.

    job = queue.submit(lambda: generator.run(request), seconds=120)     raises OverloadedError
    done = await job.result()                                           or: async for event in job.events()

Steps run in worker threads, so that the event loop stays free. BentoML's own bound answers 429 without Retry-After,
and a synchronous endpoint exceeds it (BentoML#5642).
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from components.contracts import Done, Preview
from components.errors import KyaraError
from serving.errors import DeadlineError, OverloadedError

Events = Generator[Preview | Done, None, None]

LONGEST_PROMISE = 60  # seconds


class GoneError(Exception):
    """Nobody wants the answer any more; the generation was stopped between two steps."""


class Job:
    """One accepted request: waiting, at work or ended. Made by `RequestQueue.submit`.

    `latest` is its last preview; one that follows slowly misses some, and holds nobody up.
    """

    def __init__(self) -> None:
        self.latest: Preview | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[Done] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._why: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether there is an answer or an error."""
        return self._task is not None and self._task.done()

    def begin(self, work: Coroutine[None, None, Done]) -> "Job":
        """Called once, by the queue."""
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(self._end)
        return self

    def tell(self, preview: Preview) -> None:
        """Called by the queue after each step."""
        self.latest = preview
        self._changed.set()

    def cancel(self, why: Exception | None = None) -> None:
        """Stop between two steps; who awaits the result gets `why`, by default GoneError."""
        if self._task is not None and not self._task.done() and self._why is None:
            self._why = why or GoneError()
            self._task.cancel()

    def watch(self, gone: Coroutine[None, None, None]) -> "Job":
        """Cancel when `gone` returns."""

        async def wait() -> None:
            await gone
            self.cancel()

        self._watch = asyncio.create_task(wait())
        return self

    async def events(self) -> AsyncGenerator[Preview | Done, None]:
        """Previews, then the answer. Leaving early stops the work.

        Raises:
            GoneError: it was cancelled.
            DeadlineError: it took too long.
            KyaraError: whatever the generation refuses.
        """
        try:
            while not self.ended:
                await self._changed.wait()
                self._changed.clear()
                if not self.ended and self.latest is not None:
                    yield self.latest
            yield self.answer()
        finally:
            self.cancel()

    async def result(self) -> Done:
        """The answer. Raises what `events` does."""
        async with contextlib.aclosing(self.events()) as events:
            async for event in events:
                if isinstance(event, Done):
                    return event
        raise AssertionError("a job ends with its answer or an error")

    def answer(self) -> Done:
        """The answer of a job that has ended. Raises what `events` does."""
        assert self._task is not None
        try:
            return self._task.result()
        except asyncio.CancelledError:
            raise self._why or GoneError() from None

    def _end(self, task: "asyncio.Task[Done]") -> None:
        if self._watch is not None:
            self._watch.cancel()
        if not task.cancelled():
            task.exception()  # whoever asks gets it; nobody has to
        self._changed.set()


def _close(events: Events, step: "Future[Preview | Done | None]") -> None:
    wait([step])  # a generator cannot be closed while it runs
    events.close()


class RequestQueue:
    """At most `limit` requests in work or waiting, at most `parallel()` of them in work.

    Args:
        limit: of requests; more are refused at once.
        parallel: how many generations at once the generator of this moment can draw.
        name: of the threads.
    """

    def __init__(self, limit: int, parallel: Callable[[], int] = lambda: 1, name: str = "kyara-engine") -> None:
        self.limit = limit
        self.parallel = parallel
        self.name = name
        self.depth = 0
        self.busy = 0
        self._seconds = 1.0
        self._promised = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._threads: dict[int, ThreadPoolExecutor] = {}

    def submit(self, start: Callable[[], Events], *, seconds: float | None = None) -> Job:
        """Take a place and go to work when the turn comes.

        Args:
            start: makes the generator; called when the turn has come, so that it sees the model of that moment.
            seconds: until DeadlineError, waiting included; None: no bound.

        Raises:
            OverloadedError: no place is left.
        """
        if self.depth >= self.limit:
            message = f"{self.depth} requests are in work or waiting, which is the limit."
            raise OverloadedError(message, retry_after=self.promise())
        self.depth += 1
        job = Job()
        return job.begin(self._work(job, start, seconds))

    def promise(self) -> int:
        """Seconds after which one who is refused should come back: each a turn later than the one before, a turn being
        the mean time of recent generations. Whole, at least 1.

        All together, after the same second, they would only be refused again, and keep the loop busy with it.
        """
        now = time.monotonic()
        self._promised = max(self._promised, now) + self._seconds / self.parallel()
        return min(max(1, math.ceil(self._promised - now)), LONGEST_PROMISE)

    async def _work(self, job: Job, start: Callable[[], Events], seconds: float | None) -> Done:
        try:
            async with asyncio.timeout(seconds) as bound, self._turn():
                began = time.perf_counter()
                done = await self._drive(job, start())
                self._seconds += 0.3 * (time.perf_counter() - began - self._seconds)
                return done
        except TimeoutError:
            if not bound.expired():
                raise
            raise DeadlineError(seconds or 0.0) from None
        finally:
            self.depth -= 1

    async def _drive(self, job: Job, events: Events) -> Done:
        """One hop to a thread per step. Where it is stopped, the step under way ends before the turn is given on."""
        loop, threads = asyncio.get_running_loop(), self._pool()
        step = threads.submit(next, events, None)
        try:
            while (event := await asyncio.wrap_future(step)) is not None:
                if isinstance(event, Done):
                    return event
                job.tell(event)
                step = threads.submit(next, events, None)
            raise KyaraError("the generation ended without an answer.")
        finally:
            await asyncio.shield(loop.run_in_executor(threads, _close, events, step))

    def _pool(self) -> ThreadPoolExecutor:
        """As many threads as generations at once: one that draws alone always draws in the same thread."""
        count = max(1, self.parallel())
        if count not in self._threads:
            self._threads[count] = ThreadPoolExecutor(count, thread_name_prefix=self.name)
        return self._threads[count]

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        await self._wait()
        try:
            yield
        finally:
            self.busy -= 1
            self._wake()

    async def _wait(self) -> None:
        """As asyncio.Semaphore, with a bound that may change."""
        if not self._waiting and self.busy < self.parallel():
            self.busy += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given in this very moment
                self.busy -= 1
            else:
                self._waiting.remove(turn)
            self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self.busy < self.parallel():
            turn = self._waiting.popleft()
            if not turn.done():
                self.busy += 1
                turn.set_result(None)

    def close(self) -> None:
        """Let the threads end once their steps have."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

"""The one way from a request to its answer, for every route whatever its shape.

submit = submit_of(http)
answer = await submit(request, http)                          Done, with the model that drew it
async for event in submit.events(request, http): ...          Preview, …, then the same answer
"""

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request

from components.contracts import Done, Preview
from components.errors import RequestError
from components.settings import settings
from serving.champion import Served
from serving.drain import Drain
from serving.request_queue import Events, Job, RequestQueue

if TYPE_CHECKING:
    from serving.metrics import Metrics  # loads prometheus_client, which is for the worker alone

DEADLINE = "X-Kyara-Deadline"
"""Header: seconds after which this client wants no answer any more; shorter than KYARA_REQUEST_SECONDS."""


READERS, READINGS = 4, 64
"""Texts that are read at once, and those besides that wait."""


@dataclass(frozen=True)
class Answer(Done):
    """A finished generation, the model that made it, and the seconds since the request arrived."""

    model: str = ""
    waited: float = 0.0


class Submit:
    """Takes requests to the queue. Every method raises NotReadyError, OverloadedError, DrainingError at once, and
    GoneError, DeadlineError or whatever the generation refuses while it runs.

    Args:
        served: the model of this moment; raises NotReadyError.
    """

    def __init__(self, served: Callable[[], Served], queue: RequestQueue, metrics: "Metrics", drain: Drain) -> None:
        self.served = served
        self.queue = queue
        self.metrics = metrics
        self.drain = drain
        self.readings = RequestQueue(READINGS, lambda: READERS, "kyara-reader")

    async def reading(self, prompt: str, negative: str, http: Request) -> Mapping[str, Any]:
        """How a text is read; a client of prompts may take long, so that this has a queue of its own."""
        self.drain.check()
        generator = self.served().generator

        def start() -> Events:
            yield Done(b"", "application/json", generator.reading(prompt, negative))

        job = self.readings.submit(start, seconds=deadline(http))
        return (await job.watch(left(http)).result()).metadata

    async def __call__(self, request: Any, http: Request) -> Answer:
        """The answer. The work stops when the client leaves."""
        async with aclosing(self.events(request, http, previews=False)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise AssertionError("a job ends with its answer or an error")

    def events(self, request: Any, http: Request, *, previews: bool = True) -> AsyncGenerator[Preview | Answer, None]:
        """Takes a place at once; then steps, with a picture each if `previews`, and the answer.

        Closing it, or the client's leaving, stops the work.
        """
        job, finished = self.job(request, seconds=deadline(http), previews=previews)
        return _followed(job.watch(left(http)), finished)

    def job(
        self, request: Any, *, seconds: float | None, previews: bool = False
    ) -> tuple[Job, Callable[[Done], Answer]]:
        """A job in the queue, and what makes its Done an Answer."""
        self.drain.check()
        arrived, served = time.perf_counter(), self.served()

        def start() -> Events:
            nonlocal served
            served = self.served()
            return cast(Events, served.generator.run(request, previews=previews))

        def finished(done: Done) -> Answer:
            waited = time.perf_counter() - arrived
            self.metrics.answered(served, done, waited)
            return Answer(done.content, done.media_type, done.metadata, done.seconds, served.label, waited)

        return self.queue.submit(start, seconds=seconds), finished


async def _followed(job: Job, finished: Callable[[Done], Answer]) -> AsyncGenerator[Preview | Answer, None]:
    async with aclosing(job.events()) as events:
        async for event in events:
            yield finished(event) if isinstance(event, Done) else event


def submit_of(http: Request) -> Submit:
    """The service's."""
    return cast(Submit, http.app.state.submit)


def deadline(http: Request) -> float:
    """Seconds that a request may take. Raises RequestError for a header that is no such number."""
    most, told = settings().request_seconds, http.headers.get(DEADLINE)
    if told is None:
        return most
    try:
        seconds = float(told)
    except ValueError:
        seconds = float("nan")
    if not seconds > 0:
        raise RequestError(f"{DEADLINE} {told[:80]!r} is wrong: expected seconds above 0.")
    return min(seconds, most)


async def left(http: Request) -> None:
    """Return when the client has closed its connection; its body has been read before."""
    while (await http.receive())["type"] != "http.disconnect":
        pass

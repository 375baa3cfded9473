"""The end of a service in order: from SIGTERM on it is not ready and takes nothing new; what it took is answered.

uvicorn alone closes its socket at once, so that a balancer that has not looked yet gets refused connections. Here the
socket stays open until the accepted work is done, and `KYARA_DRAIN_SECONDS` more, answering 503 with Retry-After; then
uvicorn's own handler ends it. BentoML's supervisor waits for its worker.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from components.settings import settings
from serving.errors import DrainingError

logger = logging.getLogger("bentoml.kyara")

EVERY = 0.05  # seconds
SIGNALS = (signal.SIGTERM,)


class Drain:
    """Knows whether the service is ending.

    Args:
        open: how many accepted requests are not answered yet.
        begun: called when it begins to end.
    """

    def __init__(self, open: Callable[[], int], begun: Callable[[], None] = lambda: None) -> None:
        self.open = open
        self.begun = begun
        self.draining = False
        self._task: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raise DrainingError once it is ending."""
        if self.draining:
            raise DrainingError()

    def listen(self) -> None:
        """Come before the server's own handlers, which must be there already (uvicorn's: before its lifespan)."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            before = signal.getsignal(number)

            def begin(got: int, frame: FrameType | None, before: Any = before) -> None:
                loop.call_soon_threadsafe(self.begin, lambda: before(got, frame))

            signal.signal(number, begin)

    def begin(self, end: Callable[[], None]) -> None:
        """Take nothing new from now on; `end` is called when nothing is open any more."""
        if not self.draining:
            self.draining = True
            self.begun()
            logger.info("draining: %d requests and tasks are open", self.open())
            self._task = asyncio.create_task(self._drained(end))

    async def _drained(self, end: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        most = loop.time() + settings().drain_most_seconds
        while self.open() and loop.time() < most:
            await asyncio.sleep(EVERY)
        if left := self.open():
            logger.error("%d requests and tasks are given up: KYARA_DRAIN_MOST_SECONDS are over", left)
        await asyncio.sleep(settings().drain_seconds)  # who just got an answer and asks again hears 503
        logger.info("drained")
        end()

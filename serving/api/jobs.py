"""What each caller of the web UI's API has in work, so that it can ask how far that is, and stop it.

Callers are told apart by their keys: nobody sees or stops another's work. Without keys only this machine may ask.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serving.request_queue import Job

WATCHING = 60.0
"""Seconds after a look at the progress within which a next request draws previews."""


class InterruptedByUser(Exception):
    """The caller asked for its job to end."""


@dataclass
class Progress:
    """A caller's job: the share that is done, steps done and in all, the last preview, seconds since it began."""

    share: float
    step: int
    steps: int
    preview: bytes | None
    seconds: float


NOTHING = Progress(0.0, 0, 0, None, 0.0)


@dataclass
class Jobs:
    """Jobs by caller, oldest first.

    Args:
        clock: seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    _open: dict[str, list[tuple[Job, float]]] = field(default_factory=dict)
    _looked: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def following(self, caller: str, job: Job) -> Iterator[None]:
        """Know of a job while the block runs."""
        entry = (job, self.clock())
        self._open.setdefault(caller, []).append(entry)
        try:
            yield
        finally:
            self._open[caller].remove(entry)
            if not self._open[caller]:
                del self._open[caller]

    def count(self, caller: str) -> int:
        """Jobs that are open."""
        return len(self._open.get(caller, ()))

    def watched(self, caller: str) -> bool:
        """Whether previews are worth their time: somebody looked a moment ago."""
        return self.clock() - self._looked.get(caller, -WATCHING) < WATCHING

    def progress(self, caller: str) -> Progress | None:
        """Of the oldest open job; None where nothing is in work."""
        self._looked[caller] = self.clock()
        if caller not in self._open:
            return None
        job, began = self._open[caller][0]
        latest = job.latest
        if latest is None:
            return Progress(0.0, 0, 0, None, self.clock() - began)
        return Progress(
            latest.done / max(latest.total, 1), latest.done, latest.total, latest.content, self.clock() - began
        )

    def interrupt(self, caller: str) -> None:
        """Stop the oldest open job between two steps; nothing where none is open."""
        if caller in self._open:
            self._open[caller][0][0].cancel(InterruptedByUser())

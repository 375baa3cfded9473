"""Long work as tasks: submitted, followed, cancelled between two steps, kept for a bounded time and number.

BentoML's own store only marks a cancelled task, keeps results for a day whatever their number, and knows no progress.
Tasks lie in memory: a service that ends waits for those under way, and for who fetches them (see `serving.drain`).
"""

import asyncio
import base64
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from components.contracts import Done
from components.errors import KyaraError
from serving.errors import (
    CanceledError,
    NotFoundError,
    OverloadedError,
    UnfinishedError,
    body_of,
    unexpected_error,
)
from serving.request_queue import GoneError, Job
from serving.submitting import Answer, Submit

logger = logging.getLogger("bentoml.kyara")

FETCHING = 10.0
"""Seconds that an ending service waits for who has not fetched an answer."""


class Status(StrEnum):
    """As BentoML's ResultStatus."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class TaskStatus(BaseModel):
    """Where a task is."""

    task_id: str
    status: Status
    created_at: str
    ended_at: str | None = None
    done: int = 0
    total: int = 0
    image: str | None = None
    error: dict[str, Any] | None = None


@dataclass
class Task:
    """One submitted request. `owner`: the name of the key that submitted it, who alone sees it."""

    id: str
    owner: str
    request: Any
    job: Job
    finished: Callable[[Done], Answer]
    created: float = field(default_factory=time.time)
    ended: float | None = None
    fetched: bool = False
    outcome: Answer | Exception | None = None

    async def follow(self) -> None:
        """Keep how it ended."""
        try:
            self.outcome = self.finished(await self.job.result())
        except (KyaraError, GoneError) as error:
            self.outcome = error
        except Exception as error:
            logger.exception("a task failed")
            self.outcome = error
        self.ended = time.time()
        logger.info("task %s: %s", self.id, self.status.value)

    @property
    def status(self) -> Status:
        """Where it is."""
        match self.outcome:
            case Answer():
                return Status.COMPLETED
            case GoneError():
                return Status.CANCELED
            case None:
                return Status.PENDING if self.job.latest is None else Status.IN_PROGRESS
        return Status.FAILED

    @property
    def open(self) -> bool:
        """Whether an ending service should wait for it, or for who fetches its answer."""
        if self.ended is None:
            return True
        return isinstance(self.outcome, Answer) and not self.fetched and time.time() < self.ended + FETCHING

    def told(self) -> TaskStatus:
        """What `status` answers."""
        latest = self.job.latest
        image = None if latest is None or latest.content is None else base64.b64encode(latest.content).decode()
        return TaskStatus(
            task_id=self.id,
            status=self.status,
            created_at=_moment(self.created),
            ended_at=None if self.ended is None else _moment(self.ended),
            done=0 if latest is None else latest.done,
            total=0 if latest is None else latest.total,
            image=image if self.ended is None else None,
            error=body_of(known(self.outcome))["error"] if isinstance(self.outcome, Exception) else None,
        )

    def answer(self) -> Answer:
        """Its answer. Raises UnfinishedError, CanceledError, or what it ended with."""
        if self.outcome is None:
            raise UnfinishedError(self.id)
        self.fetched = True
        if isinstance(self.outcome, Exception):
            raise known(self.outcome)
        return self.outcome


class Tasks:
    """At most `limit` tasks, ended ones for at most `seconds`; the oldest ended one makes room."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._tasks: dict[str, Task] = {}
        self._following: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def open(self) -> int:
        """How many an ending service waits for."""
        return sum(task.open for task in self._tasks.values())

    def submit(self, submit: Submit, request: Any, owner: str, seconds: float) -> Task:
        """A new task. Raises what `Submit` does at once, and OverloadedError where `limit` are under way."""
        self._tidy()
        if len(self._tasks) >= self.limit:
            retry_after = submit.queue.promise()
            raise OverloadedError(f"{self.limit} tasks are under way, which is the limit.", retry_after=retry_after)
        job, finished = submit.job(request, seconds=seconds, previews=True)
        task = Task(secrets.token_hex(16), owner, request, job, finished)
        self._tasks[task.id] = task
        following = asyncio.create_task(task.follow())
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        return task

    def find(self, name: str, owner: str) -> Task:
        """A task of this owner. Raises NotFoundError."""
        self._tidy()
        task = self._tasks.get(name)
        if task is None or task.owner != owner:
            raise NotFoundError(f"there is no task {name[:80]!r}.", hint=f"They are kept for {self.seconds:g} s.")
        return task

    def _tidy(self) -> None:
        ended = [task for task in self._tasks.values() if task.ended is not None]
        old = [task for task in ended if time.time() > (task.ended or 0.0) + self.seconds]
        crowd = sorted(ended, key=lambda task: task.ended or 0.0)[: max(0, len(self._tasks) - self.limit + 1)]
        for task in {task.id for task in (*old, *crowd)}:
            del self._tasks[task]


def known(error: Exception) -> KyaraError:
    """What a task ended with, as the client is told."""
    if isinstance(error, GoneError):
        return CanceledError()
    return error if isinstance(error, KyaraError) else unexpected_error()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()

"""Step-level batching: calls that several threads make at one time become one call, whose results are handed back.

Requests come and go at any step and keep their own pace; only the network's calls meet. While one batch runs, the
calls of the others gather for the next, so a busy device needs no waiting at all.
"""

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

WAIT_SECONDS = 0.003
"""Longest that a call waits for others, of a step that takes ten times as long where batching pays."""

Run = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass
class _Ticket:
    """One call, and what came of it."""

    call: Any
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None


class Collector:
    """Runs calls one batch at a time, each batch of equal keys.

    Args:
        turn: held while a batch runs.
        most: calls of a batch; 1: each alone.
        wait: seconds that the first of a batch waits for more, where other members could still come.
    """

    def __init__(self, turn: threading.Lock, most: int = 1, wait: float = WAIT_SECONDS) -> None:
        self.turn, self.most, self.wait = turn, most, wait
        self.calls = self.batches = 0
        self._members = 0
        self._groups: dict[Hashable, list[_Ticket]] = {}
        self._changed = threading.Condition()

    @contextmanager
    def member(self) -> Iterator[None]:
        """The block makes calls one after the other; a batch is complete when every member takes part in it."""
        with self._changed:
            self._members += 1
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                self._changed.notify_all()

    def __call__(self, key: Hashable, call: Any, run: Run) -> Any:
        """The result of one call: `run` gets it with others of its key and returns a result for each, in order.

        Raises what `run` raises for this call: where a batch fails, each of its calls is run alone.
        """
        ticket = _Ticket(call)
        if self._joined(key, ticket):
            ticket.done.wait()
        else:
            self._lead(key, run)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def _joined(self, key: Hashable, ticket: _Ticket) -> bool:
        """Whether somebody else runs the batch that the ticket is in now."""
        with self._changed:
            group = self._groups.setdefault(key, [])
            group.append(ticket)
            self._changed.notify_all()
            return len(group) > 1

    def _lead(self, key: Hashable, run: Run) -> None:
        """Wait for others and for the turn, then run the batch as it is by then."""
        tickets: list[_Ticket] = []
        try:
            with self._changed:
                group = self._groups[key]
                if self.most > 1:
                    self._changed.wait_for(lambda: len(group) >= min(self.most, self._members), self.wait)
            with self.turn:
                tickets = self._taken(key)
                for start in range(0, len(tickets), self.most):
                    self._answer(tickets[start : start + self.most], run)
        except BaseException as error:  # an interrupt, say: nobody may wait for ever
            for ticket in [*tickets, *self._taken(key)]:
                if not ticket.done.is_set():
                    ticket.error = error
                    ticket.done.set()
            raise

    def _taken(self, key: Hashable) -> list[_Ticket]:
        """The group, closed; the next call of its key begins another."""
        with self._changed:
            return self._groups.pop(key, [])

    def _answer(self, tickets: Sequence[_Ticket], run: Run) -> None:
        self.calls += len(tickets)
        self.batches += 1
        try:
            results = run([ticket.call for ticket in tickets])
        except Exception as error:
            if len(tickets) > 1:
                for ticket in tickets:
                    self._answer([ticket], run)
                return
            tickets[0].error = error
        else:
            for ticket, result in zip(tickets, results, strict=True):
                ticket.result = result
        for ticket in tickets:
            ticket.done.set()

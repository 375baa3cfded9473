"""Calls of a client that may fail: bounded retries with jitter, and a circuit breaker for each client.

Only `retryable` errors are tried again: no connection, no answer in time, HTTP 408, 429 and 5xx. A wait that the
service names (Retry-After) is kept to; one longer than we are ready to wait ends the tries, because to ask earlier
would be to ignore it. The time limit of one try is the client's own.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pybreaker import STATE_CLOSED, CircuitBreaker, CircuitBreakerError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random, wait_random_exponential

from components.prompting.clients import AnswerError, Blocked, ClientError, Resting
from components.prompting.schema import Client, Draft, PromptRequest


@dataclass
class Resilience:
    """How often, how long and how patiently a client is asked. One object a process: it remembers who failed."""

    attempts: int = 3
    first_wait: float = 0.5
    longest_wait: float = 8.0
    longest_retry_after: float = 20.0
    deadline: float = 60.0
    fail_max: int = 5
    rest: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    _breakers: dict[str, CircuitBreaker] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def call(self, client: Client, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        """The client's draft. Raises its last error, or `Resting` where it failed too often of late."""
        tries = Retrying(
            stop=stop_after_attempt(self.attempts) | stop_before_delay(self.deadline),
            wait=self._wait,
            retry=retry_if_exception(self._worth_it),
            sleep=self.sleep,
            reraise=True,
        )
        return tries(self._once, client, request, problems)

    def _once(self, client: Client, request: PromptRequest, problems: Sequence[str]) -> Draft:
        try:
            return _guarded(self._breaker(client), lambda: client.draft(request, problems))
        except CircuitBreakerError:
            pass
        raise Resting(f"{client.name} failed {self.fail_max} times in a row and is left alone for {self.rest:g} s.")

    def _worth_it(self, error: BaseException) -> bool:
        if not isinstance(error, ClientError) or not error.retryable:
            return False
        return error.retry_after is None or error.retry_after <= self.longest_retry_after

    def _wait(self, state: RetryCallState) -> float:
        """Full jitter (Brooker, "Exponential Backoff And Jitter", 2015); never earlier than the service asked for."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ClientError) and error.retry_after is not None:
            return error.retry_after + wait_random(0, self.first_wait)(state)
        return wait_random_exponential(self.first_wait, self.longest_wait)(state)

    def _breaker(self, client: Client) -> CircuitBreaker:
        with self._lock:
            name = f"{client.name}/{client.model}"
            if name not in self._breakers:
                # A service that answers something useless is up.
                self._breakers[name] = CircuitBreaker(
                    fail_max=self.fail_max,
                    reset_timeout=self.rest,
                    exclude=[AnswerError, Blocked],
                    throw_new_error_on_trip=False,
                    name=name,
                )
            return self._breakers[name]


def _guarded(breaker: CircuitBreaker, call: Callable[[], Draft]) -> Draft:
    """`breaker.call` holds a lock for as long as the call takes, which would put equal clients in a queue.

    So while the circuit is closed the call runs outside and only its outcome is told. Open and half-open stay with the
    library: there one probe at a time is what we want.
    """
    if breaker.current_state != STATE_CLOSED:
        return breaker.call(call)
    try:
        draft = call()
    except Exception as error:
        with contextlib.suppress(CircuitBreakerError, type(error)):
            breaker.call(_raise, error)
        raise
    with contextlib.suppress(CircuitBreakerError):
        breaker.call(lambda: draft)
    return draft


def _raise(error: Exception) -> None:
    raise error

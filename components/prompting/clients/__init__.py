"""Clients that read a request with somebody else's language model, and every way in which one can fail.

ClientError             whatever a client raises; `retryable` and `retry_after` are for `..resilience`
├── Unreachable         no connection, or no answer in time (retryable)
├── Busy                HTTP 408, 429 or 5xx (retryable; may say after how many seconds)
├── Refused             any other HTTP status, or an address or key that cannot be used
├── Resting             the circuit breaker is open: nobody was asked
├── Blocked             a safety filter held the answer back
└── AnswerError         an answer came and cannot be used; `problems` can be told to the model (the repair round)
    ├── Truncated       it stops in the middle
    ├── Empty           it holds nothing
    └── WrongAnswer     it is not a `Draft`, or contradicts itself

Messages hold our own words: no key, no address, nothing of the service's text that `secret.scrub` has not seen.
One file a service; each can be replaced or removed alone. None is imported before it is chosen.
"""

from collections.abc import Sequence

from components.errors import KyaraError


class ClientError(KyaraError):
    """A client has no draft for us. `message` is one short sentence that may be shown and stored."""

    code = "prompt_client"

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Unreachable(ClientError):
    """No connection, or no answer in time."""

    retryable = True


class Busy(ClientError):
    """The service asks for patience; `retry_after` in seconds where it says for how long."""

    retryable = True


class Refused(ClientError):
    """The service will not answer this call however often it is made."""


class Resting(ClientError):
    """The circuit breaker is open."""


class Blocked(ClientError):
    """A safety filter held the answer back."""


class AnswerError(ClientError):
    """The answer cannot be used; `problems` has one sentence for each thing that is wrong with it."""

    def __init__(self, message: str, problems: Sequence[str]) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class Truncated(AnswerError):
    """The answer stops in the middle."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The answer of {name} was cut off.", ["The answer was cut off; answer in fewer words."])


class Empty(AnswerError):
    """The answer holds nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The answer of {name} was empty.", ["The answer was empty; fill in the schema."])


class WrongAnswer(AnswerError):
    """The answer is not a draft, or one that contradicts itself."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        super().__init__(f"The answer of {name} was wrong.", problems)

"""KyaraError -> HTTP answer: one table, one JSON shape {"error": {"code", "message", "hint"}}."""

from typing import Any

from starlette.responses import JSONResponse

from components.errors import KyaraError, RequestError

# By `KyaraError.code`. What is not listed is our own fault.
STATUS = {
    "request": 400,
    "recipe": 400,
    "data": 400,
    "key": 401,
    "foreign_origin": 403,
    "not_found": 404,
    "model_not_found": 404,
    "method": 405,
    "timeout": 408,
    "too_large": 413,
    "media_type": 415,
    "overloaded": 429,
    "rate": 429,
    "gate": 409,
    "unfinished": 409,
    "canceled": 410,
    "tracking": 502,
    "model": 503,
    "artifact": 503,
    "environment": 503,
    "not_ready": 503,
    "draining": 503,
    "deadline": 504,
}


CLIENT_GONE = 499
"""As nginx logs a client that closed the connection; nobody receives it."""


class TooLargeError(RequestError):
    """A body above the limit, whether announced or only found out while reading."""

    code = "too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the request body is larger than {limit} bytes.", hint="Shorten the prompt, or send smaller pictures."
        )


class WrongMediaTypeError(RequestError):
    """A body that is not JSON."""

    code = "media_type"

    def __init__(self, found: str) -> None:
        super().__init__(f"Content-Type {found!r} is not understood.", hint="Send JSON as application/json.")


class BusyError(KyaraError):
    """The same request may succeed after `retry_after` seconds."""

    retryable = True

    def __init__(self, message: str, *, retry_after: int, hint: str = "") -> None:
        super().__init__(message, hint=hint or f"Try again in {retry_after} s.")
        self.retry_after = retry_after


class OverloadedError(BusyError):
    """As many requests in work and waiting as are allowed."""

    code = "overloaded"


class NotReadyError(BusyError):
    """No model is warm yet."""

    code = "not_ready"


class RateError(BusyError):
    """A key asked more often than it may."""

    code = "rate"

    def __init__(self, per_minute: float, retry_after: int) -> None:
        super().__init__(f"this key may ask {per_minute:g} times a minute.", retry_after=retry_after)


class KeyRefusedError(KyaraError):
    """No key, or a wrong one."""

    code = "key"

    def __init__(self, message: str) -> None:
        hint = "Send Authorization: Bearer KEY, with a key of the file that KYARA_KEYS names."
        super().__init__(message, hint=hint)


class SlowBodyError(KyaraError):
    """A request whose body did not come in time."""

    code = "timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request body did not arrive within {seconds:g} s.", hint="Send it in one go.")


class DrainingError(BusyError):
    """The service is ending; another one takes its place."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("this server is ending and takes nothing new.", retry_after=1)


class NotFoundError(KyaraError):
    """There is nothing of that name or under that path."""

    code = "not_found"


class UnfinishedError(KyaraError):
    """A task whose answer is asked for before its end."""

    code = "unfinished"
    retryable = True

    def __init__(self, name: str) -> None:
        super().__init__(f"task {name!r} has no answer yet.", hint="Ask for its status, and again later.")


class CanceledError(KyaraError):
    """A task that was stopped."""

    code = "canceled"

    def __init__(self) -> None:
        super().__init__("the task was cancelled.", hint="Submit it again.")


class MethodError(KyaraError):
    """The path does not answer this method."""

    code = "method"


class DeadlineError(KyaraError):
    """The answer took longer than it may; its work was stopped."""

    code = "deadline"
    retryable = True

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the answer was not ready within {seconds:g} s.",
            hint="Ask for less, or submit it as a task; KYARA_REQUEST_SECONDS is the limit.",
        )


def status_of(error: KyaraError) -> int:
    """The HTTP status of an error; 500 where the table has none."""
    return STATUS.get(error.code, 500)


def body_of(error: KyaraError) -> dict[str, Any]:
    """The one shape of all errors."""
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint.strip()}}


def answer(error: KyaraError) -> JSONResponse:
    """The error as a response, with Retry-After where waiting helps."""
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, BusyError) else {}
    if isinstance(error, KeyRefusedError):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body_of(error), status_code=status_of(error), headers=headers)


def unexpected_error() -> KyaraError:
    """A bug of ours: the log has the traceback, the client nothing of it."""
    return KyaraError("the server failed on this request.", hint="See the server's log.")

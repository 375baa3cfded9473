"""KyaraError -> HTTP answer: one table, one JSON shape {"error": {"code", "message", "hint"}}."""

from starlette.responses import JSONResponse

from components.errors import KyaraError, RequestError

# By `KyaraError.code`. What is not listed is our own fault.
STATUS = {
    "request": 400,
    "recipe": 400,
    "data": 400,
    "foreign_origin": 403,
    "too_large": 413,
    "media_type": 415,
    "overloaded": 429,
    "gate": 409,
    "tracking": 502,
    "model": 503,
    "artifact": 503,
    "environment": 503,
    "not_ready": 503,
}


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


def status_of(error: KyaraError) -> int:
    """The HTTP status of an error; 500 where the table has none."""
    return STATUS.get(error.code, 500)


def answer(error: KyaraError) -> JSONResponse:
    """The error as a response, with Retry-After where waiting helps."""
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, BusyError) else {}
    body = {"code": error.code, "message": error.message, "hint": error.hint.strip()}
    return JSONResponse({"error": body}, status_code=status_of(error), headers=headers)


def unexpected() -> JSONResponse:
    """A bug of ours: the log has the traceback, the client nothing of it."""
    return answer(KyaraError("the server failed on this request.", hint="See the server's log."))

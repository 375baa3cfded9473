"""One POST to a JSON service: time limit, size limit, and every failure as a `ClientError` that holds no secret."""

import email.utils
import json
import ssl
import time
from collections.abc import Generator, Mapping
from functools import cache
from typing import Any

import httpx
from pydantic import SecretStr

from components.prompting.clients import Busy, ClientError, Refused, Unreachable, WrongAnswer
from components.prompting.clients.secret import scrub

MAX_BODY = 1 << 20
_PATIENCE = (408, 429)


class HeaderKey(httpx.Auth):
    """Sets the key at the last moment, so that no frame or argument on the way holds its text."""

    def __init__(self, header: str, key: SecretStr | None, prefix: str = "") -> None:
        self.header, self.key, self.prefix = header, key, prefix

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Called by httpx for each request."""
        if self.key is not None:
            request.headers[self.header] = self.prefix + self.key.get_secret_value()
        yield request


def post(
    name: str,
    url: str,
    body: Mapping[str, Any],
    *,
    auth: HeaderKey,
    timeout: float,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """The JSON that the service answers within `timeout` seconds. Redirects are not followed: the key stays here."""
    outcome = _send(name, url, body, auth, timeout, headers)
    # Raised here and not where it was caught: httpx's errors carry the request, and that the key.
    if isinstance(outcome, ClientError):
        raise outcome
    status, answered, text = outcome
    if status != 200:
        raise failure(name, status, told(text), wait=retry_after(answered.get("retry-after")), key=auth.key)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    raise WrongAnswer(name, ["The answer is not JSON."])


def failure(
    name: str, status: int, text: str = "", *, wait: float | None = None, key: SecretStr | None = None
) -> ClientError:
    """What an HTTP status means. The service's own words are shown only where they cannot be about the key."""
    if status in _PATIENCE or status >= 500:
        return Busy(f"{name} answered HTTP {status}.", retry_after=wait)
    if status in (401, 403):
        return Refused(f"{name} refused the key (HTTP {status}).")
    said = scrub(text, key).rstrip(".")
    return Refused(f"{name} refused the request (HTTP {status}){': ' if said else ''}{said}.")


def retry_after(header: str | None) -> float | None:
    """Seconds to wait as of RFC 9110 section 10.2.3: a number, or a date. None where it is neither."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None


def _send(
    name: str,
    url: str,
    body: Mapping[str, Any],
    auth: HeaderKey,
    timeout: float,
    headers: Mapping[str, str] | None,
) -> tuple[int, httpx.Headers, str] | ClientError:
    end = time.monotonic() + timeout
    try:
        with (
            httpx.Client(timeout=timeout, auth=auth, verify=certificates()) as http,
            http.stream("POST", url, json=dict(body), headers=dict(headers or {})) as response,
        ):
            return response.status_code, response.headers, _text(name, response, end)
    except httpx.TimeoutException:
        return Unreachable(f"{name} did not answer within {timeout:g} s.")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        return Refused(f"The address of {name} is not one of HTTP.")
    except httpx.HTTPError as error:
        return Unreachable(f"{name} cannot be reached ({type(error).__name__}).")
    except ClientError as error:
        return error


@cache
def certificates() -> ssl.SSLContext:
    """Of the authorities that httpx trusts; read once, for it takes longer than a call on loopback."""
    return httpx.create_ssl_context()


def _text(name: str, response: httpx.Response, end: float) -> str:
    """The body; httpx limits the time between two bytes, we the time for all of them, and their number."""
    read = bytearray()
    for chunk in response.iter_bytes():
        read += chunk
        if len(read) > MAX_BODY:
            raise WrongAnswer(name, [f"The answer has more than {MAX_BODY} bytes."])
        if time.monotonic() > end:
            raise httpx.ReadTimeout("")
    return read.decode("utf-8", "replace")


def told(text: str) -> str:
    """The message of an error, in the shape that OpenAI, Anthropic and Google share: {"error": {"message": …}}."""
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""

"""Google's Gemini through google-genai, the package that is kept up. The only file that imports it."""

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import httpx
from pydantic import SecretStr

from components.prompting.clients import Blocked, ClientError, Empty, Refused, Truncated, Unreachable, WrongAnswer
from components.prompting.clients.answer import parse
from components.prompting.clients.endpoint import certificates, failure, retry_after, told
from components.prompting.clients.instruction import draft_schema, system_text, user_text
from components.prompting.clients.secret import required
from components.prompting.schema import Draft, PromptRequest
from components.prompting.vocabulary import EMPTY, Vocabulary

_DONE = ("", "STOP", "FINISH_REASON_UNSPECIFIED")
_NO_BLOCK = ("", "BLOCKED_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED")


@cache
def is_installed() -> bool:
    """Whether google-genai is here; google-generativeai takes its place where it is not."""
    try:
        return importlib.util.find_spec("google.genai") is not None
    except ModuleNotFoundError:
        return False


class GenaiClient:
    """As `gemini.GeminiClient`: the same service, the same settings, the same errors."""

    name = "gemini"

    def __init__(
        self,
        model: str,
        *,
        key: SecretStr | str | None,
        endpoint: str = "",
        timeout: float = 20.0,
        vocabulary: Vocabulary = EMPTY,
        max_tokens: int = 8192,
        temperature: float = 0.0,
    ) -> None:
        self.model = model
        self._key = required(key, self.name)
        self._endpoint = endpoint
        self._timeout = timeout
        self._vocabulary = vocabulary
        self._max_tokens = max_tokens
        self._temperature = temperature

    def __repr__(self) -> str:
        return f"GenaiClient({self.model!r})"

    def draft(self, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        """The request as a draft."""
        outcome = self._call(request, problems)
        # Raised here and not where it was caught: the errors of httpx carry the request, and that the key.
        if isinstance(outcome, ClientError):
            raise outcome
        return parse(self.name, self._text(outcome), request, self._vocabulary)

    def _call(self, request: PromptRequest, problems: Sequence[str]) -> Any:
        from google.genai import Client

        try:
            # A client of our own: no redirect takes the key along, and nothing is tried again out of our sight.
            with httpx.Client(verify=certificates(), follow_redirects=False) as http:
                # The package's own time limit goes before the client's; in milliseconds.
                limit = max(round(1000 * self._timeout), 1)
                options = {"httpx_client": http, "base_url": self._endpoint or None, "timeout": limit}
                client = Client(vertexai=False, api_key=self._key.get_secret_value(), http_options=options)
                return client.models.generate_content(
                    model=self.model, contents=user_text(request, problems), config=self._config()
                )
        except Exception as error:
            return self._failed(error)

    def _config(self) -> Mapping[str, Any]:
        return {
            "system_instruction": system_text(self._vocabulary),
            "response_mime_type": "application/json",
            "response_json_schema": draft_schema(self._vocabulary),
            "max_output_tokens": self._max_tokens,
            "temperature": self._temperature,
        }

    def _text(self, answer: Any) -> str:
        if answer.prompt_feedback and _word(answer.prompt_feedback.block_reason) not in _NO_BLOCK:
            raise Blocked(f"A safety filter of {self.name} refused the request.")
        if not answer.candidates:
            raise Empty(self.name)
        candidate = answer.candidates[0]
        reason = _word(candidate.finish_reason)
        if reason == "MAX_TOKENS":
            raise Truncated(self.name)
        if reason not in _DONE:
            raise Blocked(f"A safety filter of {self.name} held the answer back (reason {reason}).")
        parts = (candidate.content.parts if candidate.content else None) or ()
        return "".join(part.text or "" for part in parts)

    def _failed(self, error: Exception) -> ClientError:
        from google.genai.errors import APIError

        if isinstance(error, APIError):
            text = getattr(error.response, "text", "")
            return failure(self.name, int(error.code), told(text), wait=_wait(error), key=self._key)
        if isinstance(error, httpx.TimeoutException):
            return Unreachable(f"{self.name} did not answer within {self._timeout:g} s.")
        if isinstance(error, httpx.HTTPError):
            return Unreachable(f"{self.name} cannot be reached ({type(error).__name__}).")
        if isinstance(error, ValueError | TypeError | AttributeError | RecursionError):
            return WrongAnswer(self.name, ["The answer is not JSON of the service's shape."])
        return Refused(f"{self.name} cannot be called ({type(error).__name__}).")


def _word(value: Any) -> str:
    """The word of an enum, also of one that is newer than the package."""
    return str(getattr(value, "value", value) or "")


def _wait(error: Any) -> float | None:
    """Retry-After, or the RetryInfo that Google puts in the body instead: {"retryDelay": "34s"}."""
    body = error.details if isinstance(error.details, Mapping) else {}
    inner = body.get("error", body)
    details = inner.get("details") if isinstance(inner, Mapping) else None
    waits = [str(each["retryDelay"]) for each in details or () if isinstance(each, Mapping) and "retryDelay" in each]
    header = getattr(error.response, "headers", {}).get("Retry-After")
    return retry_after(header or (waits[0].rstrip("s") if waits else None))

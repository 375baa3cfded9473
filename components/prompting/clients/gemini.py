"""Google's Gemini through google-generativeai. The only file that imports it: its support has ended."""

import threading
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import SecretStr

from components.prompting.clients import Blocked, ClientError, Empty, Refused, Truncated, Unreachable, WrongAnswer
from components.prompting.clients.answer import parse
from components.prompting.clients.endpoint import failure, retry_after, told
from components.prompting.clients.instruction import draft_schema, system_text, user_text
from components.prompting.clients.secret import required
from components.prompting.schema import Draft, PromptRequest
from components.prompting.vocabulary import EMPTY, Vocabulary

GEMINI_MODEL = "gemini-2.5-flash"
_STOP, _MAX_TOKENS = 1, 2  # Candidate.FinishReason; 0 is unspecified, all others are filters
_SDK = threading.Lock()


class GeminiClient:
    """`generateContent` with a JSON schema, over REST: the key travels in the header x-goog-api-key.

    `endpoint` names another server (`http://127.0.0.1:8080`). `max_tokens` also pays for a thinking model's thoughts.
    """

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
        self._service: Any = None

    def __repr__(self) -> str:
        return f"GeminiClient({self.model!r})"

    def draft(self, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        """The request as a draft."""
        outcome = self._call(request, problems)
        # Raised here and not where it was caught: the errors of requests carry the request, and that the key.
        if isinstance(outcome, ClientError):
            raise outcome
        return parse(self.name, self._text(outcome), request, self._vocabulary)

    def _call(self, request: PromptRequest, problems: Sequence[str]) -> Any:
        try:
            service = self._connected()
            message = self._message(request, problems)
            # retry=None: the package would try again on its own, out of sight of our limits.
            answer = service.generate_content(message, timeout=self._timeout, retry=None)
            # The bare message: an enum value newer than the package is a number there, and a warning elsewhere.
            return type(answer).pb(answer)
        except Exception as error:
            return self._failed(error)

    def _connected(self) -> Any:
        with _SDK:
            if self._service is None:
                genai, connections = _package()
                options = {"api_endpoint": self._endpoint} if self._endpoint else {}
                genai.configure(api_key=self._key.get_secret_value(), transport="rest", client_options=options)
                # `configure` speaks for the whole process, so the connection is taken before another key can be set.
                self._service = connections.get_default_generative_client()
                # requests would follow a redirect and take the key along.
                self._service.transport._session.max_redirects = 0
            return self._service

    def _message(self, request: PromptRequest, problems: Sequence[str]) -> Any:
        protos = _package()[0].protos
        return protos.GenerateContentRequest(
            model=self.model if "/" in self.model else f"models/{self.model}",
            system_instruction=protos.Content(parts=[protos.Part(text=system_text(self._vocabulary))]),
            contents=[protos.Content(role="user", parts=[protos.Part(text=user_text(request, problems))])],
            generation_config=protos.GenerationConfig(
                response_mime_type="application/json",
                response_schema=_schema(protos, draft_schema(self._vocabulary)),
                max_output_tokens=self._max_tokens,
                temperature=self._temperature,
            ),
        )

    def _text(self, answer: Any) -> str:
        if answer.prompt_feedback.block_reason:
            raise Blocked(f"A safety filter of {self.name} refused the request.")
        if not answer.candidates:
            raise Empty(self.name)
        candidate = answer.candidates[0]
        if candidate.finish_reason == _MAX_TOKENS:
            raise Truncated(self.name)
        if candidate.finish_reason not in (0, _STOP):
            raise Blocked(f"A safety filter of {self.name} held the answer back (reason {candidate.finish_reason}).")
        return "".join(part.text for part in candidate.content.parts)

    def _failed(self, error: Exception) -> ClientError:
        from google.api_core.exceptions import GoogleAPICallError
        from google.protobuf.json_format import ParseError
        from requests import exceptions

        if isinstance(error, GoogleAPICallError) and error.code:
            said = told(getattr(error.response, "text", ""))
            return failure(self.name, int(error.code), said, wait=_wait(error), key=self._key)
        if isinstance(error, exceptions.Timeout):
            return Unreachable(f"{self.name} did not answer within {self._timeout:g} s.")
        if isinstance(error, exceptions.ConnectionError | exceptions.ChunkedEncodingError):
            return Unreachable(f"{self.name} cannot be reached ({type(error).__name__}).")
        if isinstance(error, ParseError | UnicodeDecodeError):
            return WrongAnswer(self.name, ["The answer is not JSON."])
        return Refused(f"{self.name} cannot be called ({type(error).__name__}).")


@cache
def _package() -> tuple[Any, Any]:
    """google.generativeai and its `client`, without the warnings of the import: we know that its support has ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import google.generativeai as genai
        from google.generativeai import client
    return genai, client


def _schema(protos: Any, node: Mapping[str, Any]) -> Any:
    """A JSON schema in Google's words (a subset of OpenAPI 3.0, types in capitals)."""
    fields: dict[str, Any] = {"type_": node["type"].upper(), "description": node.get("description", "")}
    if "enum" in node:
        fields |= {"format_": "enum", "enum": node["enum"]}
    if "items" in node:
        fields["items"] = _schema(protos, node["items"])
    if "properties" in node:
        fields["properties"] = {name: _schema(protos, each) for name, each in node["properties"].items()}
        fields["required"] = node["required"]
    return protos.Schema(**fields)


def _wait(error: Any) -> float | None:
    """Retry-After, or the RetryInfo that Google puts in the body instead: {"retryDelay": "34s"}."""
    waits = [
        str(detail["retryDelay"]) for detail in error.details if isinstance(detail, dict) and "retryDelay" in detail
    ]
    header = getattr(error.response, "headers", {}).get("Retry-After")
    return retry_after(header or (waits[0].rstrip("s") if waits else None))

"""Chat completions in OpenAI's shape: OpenAI itself, and the local servers that speak it (llama.cpp, vLLM, Ollama)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import SecretStr

from components.prompting.clients import Blocked, Empty, Truncated
from components.prompting.clients.answer import parse
from components.prompting.clients.endpoint import HeaderKey, post
from components.prompting.clients.instruction import draft_schema, system_text, user_text
from components.prompting.clients.secret import usable
from components.prompting.schema import Draft, PromptRequest
from components.prompting.vocabulary import EMPTY, Vocabulary

OPENAI = "https://api.openai.com/v1"


class OpenAIClient:
    """`POST {base_url}/chat/completions` with a JSON schema as response format.

    A local server needs no key. `temperature=None` leaves it out, for models that take none. Older servers know the
    limit as `max_tokens` (`limit_field`).
    """

    name = "openai"

    def __init__(
        self,
        model: str,
        *,
        key: SecretStr | str | None = None,
        base_url: str = OPENAI,
        timeout: float = 20.0,
        vocabulary: Vocabulary = EMPTY,
        max_tokens: int = 4096,
        temperature: float | None = 0.0,
        limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens",
    ) -> None:
        self.model = model
        self._auth = HeaderKey("Authorization", usable(key, self.name), "Bearer ")
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._timeout = timeout
        self._vocabulary = vocabulary
        self._settings: dict[str, Any] = {limit_field: max_tokens}
        if temperature is not None:
            self._settings["temperature"] = temperature

    def __repr__(self) -> str:
        return f"OpenAIClient({self.model!r})"

    def draft(self, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        """The request as a draft."""
        body = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": system_text(self._vocabulary)},
                {"role": "user", "content": user_text(request, problems)},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "draft", "strict": True, "schema": draft_schema(self._vocabulary)},
            },
            **self._settings,
        }
        answer = post(self.name, self._url, body, auth=self._auth, timeout=self._timeout)
        return parse(self.name, self._content(answer), request, self._vocabulary)

    def _content(self, answer: Any) -> str:
        choice = _first(answer.get("choices") if isinstance(answer, Mapping) else None)
        message = choice.get("message")
        if choice.get("finish_reason") == "length":
            raise Truncated(self.name)
        if choice.get("finish_reason") == "content_filter" or (isinstance(message, Mapping) and message.get("refusal")):
            raise Blocked(f"A safety filter of {self.name} held the answer back.")
        content = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(content, str):
            raise Empty(self.name)
        return content


def _first(choices: Any) -> Mapping[str, Any]:
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}

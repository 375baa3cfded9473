"""Anthropic's Messages API: the answer is the input of a tool whose schema is the draft's."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from components.prompting.clients import Blocked, Empty, Truncated
from components.prompting.clients.answer import parse
from components.prompting.clients.endpoint import HeaderKey, post
from components.prompting.clients.instruction import draft_schema, system_text, user_text
from components.prompting.clients.secret import required
from components.prompting.schema import Draft, PromptRequest
from components.prompting.vocabulary import EMPTY, Vocabulary

ANTHROPIC = "https://api.anthropic.com"
API_VERSION = "2023-06-01"
_TOOL = "draft"


class AnthropicClient:
    """`POST {base_url}/v1/messages`; the model may do nothing but call the one tool."""

    name = "anthropic"

    def __init__(
        self,
        model: str,
        *,
        key: SecretStr | str | None,
        base_url: str = ANTHROPIC,
        timeout: float = 20.0,
        vocabulary: Vocabulary = EMPTY,
        max_tokens: int = 4096,
    ) -> None:
        self.model = model
        self._auth = HeaderKey("x-api-key", required(key, self.name))
        self._url = f"{base_url.rstrip('/')}/v1/messages"
        self._timeout = timeout
        self._vocabulary = vocabulary
        self._max_tokens = max_tokens

    def __repr__(self) -> str:
        return f"AnthropicClient({self.model!r})"

    def draft(self, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        """The request as a draft."""
        schema = draft_schema(self._vocabulary)
        tool = {"name": _TOOL, "description": "What the request asks for.", "input_schema": schema}
        body = {
            "model": self.model,
            "max_tokens": self._max_tokens,
            "system": system_text(self._vocabulary),
            "messages": [{"role": "user", "content": user_text(request, problems)}],
            "tools": [tool],
            "tool_choice": {"type": "tool", "name": _TOOL},
        }
        headers = {"anthropic-version": API_VERSION}
        answer = post(self.name, self._url, body, auth=self._auth, timeout=self._timeout, headers=headers)
        return parse(self.name, self._input(answer), request, self._vocabulary)

    def _input(self, answer: Any) -> str:
        message: Mapping[str, Any] = answer if isinstance(answer, Mapping) else {}
        if message.get("stop_reason") == "max_tokens":
            raise Truncated(self.name)
        if message.get("stop_reason") == "refusal":
            raise Blocked(f"A safety filter of {self.name} held the answer back.")
        blocks = message.get("content")
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, Mapping) and block.get("type") == "tool_use" and block.get("name") == _TOOL:
                return json.dumps(block.get("input"))
        raise Empty(self.name)

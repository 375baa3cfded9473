"""The service over HTTP: what it serves, how it reads a prompt, and pictures as they are drawn."""

import base64
import contextlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from components.contracts import Done, Preview
from components.errors import KyaraError

CONNECT_SECONDS, ANSWER_SECONDS, DRAW_SECONDS = 2.0, 20.0, 600.0
STREAM = "text/event-stream"
MEDIA_TYPES = {"png": "image/png", "webp": "image/webp", "gif": "image/gif", "mp4": "video/mp4"}
"""By the endings of the files in a ZIP of several pictures."""


class ServiceError(KyaraError):
    """What the service refused, or that it is not there (`offline`); `retry_after`: seconds, where waiting helps."""

    def __init__(self, message: str, *, code: str, hint: str = "", retry_after: int | None = None) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Model:
    """What is served: its card, the names that it knows, and what can steer it.

    vocabulary: attribute -> value -> language -> words, the canonical one first; empty where the model reads free text.
    controls: kinds of ControlNet that are there.
    """

    card: Mapping[str, Any]
    vocabulary: Mapping[str, Mapping[str, Mapping[str, list[str]]]] = field(default_factory=dict)
    controls: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.card.get('name', '')}:{self.card.get('version', '')}"

    @property
    def side(self) -> int:
        """Pixels of a side that it draws best."""
        return int(dict(self.card.get("model") or {}).get("resolution", 512))

    @property
    def distilled(self) -> bool:
        """Whether it was distilled to few steps, with guidance in its weights."""
        return self.card.get("mode") in ("full", "lora") and not self.card.get("guidance")

    def word(self, attribute: str, value: str, language: str) -> str:
        """The word for a value: (expression, smile) -> 微笑み; the value itself where there is none."""
        words = self.vocabulary.get(attribute, {}).get(value, {}).get(language) or [value]
        return words[0]


class Service:
    """One address. Calls raise ServiceError; a stream that is closed early stops the drawing."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    def model(self) -> Model:
        """What is served now."""
        card, parts = self._json("GET", "/model"), self._json("GET", "/loras")
        return Model(card, card.get("vocabulary", {}), tuple(parts.get("controls", ())), tuple(parts.get("loras", ())))

    def read(self, prompt: str) -> dict[str, Any] | None:
        """How a prompt is read, a RobustPrompt as JSON; None where the model gets it as it is typed."""
        found: dict[str, Any] | None = self._json("POST", "/prompts", {"prompt": prompt})["prompt"]
        return found

    def draw(self, request: Mapping[str, Any]) -> Iterator[Preview | Done]:
        """Previews as they come, then what was drawn."""
        timeout = httpx.Timeout(DRAW_SECONDS, connect=CONNECT_SECONDS)
        with (
            self._asked(),
            self._http.stream(
                "POST", "/generate", json=dict(request), headers={"Accept": STREAM}, timeout=timeout
            ) as response,
        ):
            if response.status_code != 200:
                response.read()
                raise refused(response)
            yield from (event_of(*each) for each in events(response.iter_lines()))

    def _json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        with self._asked():
            response = self._http.request(method, path, json=body)
            if response.status_code != 200:
                raise refused(response)
            return dict(response.json())

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise ServiceError(
                f"{self.url} does not answer: {error or type(error).__name__}.", code="offline"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(f"{self.url} gave an answer that cannot be read: {error}.", code="foreign") from error


def refused(response: httpx.Response) -> ServiceError:
    """An answer that is no picture, as the service words it."""
    retry = response.headers.get("retry-after", "")
    seconds = int(retry) if retry.isdigit() else None
    try:
        told = response.json()["error"]
        return ServiceError(
            str(told["message"]), code=str(told["code"]), hint=str(told.get("hint", "")), retry_after=seconds
        )
    except (ValueError, KeyError, TypeError):
        status = response.status_code
        return ServiceError(f"the service answered {status}.", code=str(status), retry_after=seconds)


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Server-sent events as name and JSON. Comments and fields besides `event` and `data` are passed over."""
    name, data = "message", []
    for line in lines:
        if not line:
            if data:
                yield name, json.loads("\n".join(data))
            name, data = "message", []
            continue
        field_name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field_name == "event":
            name = value
        elif field_name == "data":
            data.append(value)


def event_of(name: str, data: Mapping[str, Any]) -> Preview | Done:
    """One event of a drawing. Raises ServiceError for `error`, ValueError for what no service of ours sends."""
    if name == "error":
        told = data.get("error", data)
        raise ServiceError(str(told.get("message")), code=str(told.get("code")), hint=str(told.get("hint", "")))
    if name == "preview":
        image = data.get("image")
        return Preview(int(data["done"]), int(data["total"]), base64.b64decode(image) if image else None)
    if name == "done":
        content = base64.b64decode(data["content"])
        return Done(content, str(data["media_type"]), data.get("metadata", {}), float(data.get("seconds", 0)))
    raise ValueError(f"unknown event {name!r}")


def pictures(done: Done) -> list[tuple[bytes, str]]:
    """Content and media type of every picture of an answer."""
    if done.media_type != "application/zip":
        return [(done.content, done.media_type)]
    with zipfile.ZipFile(io.BytesIO(done.content)) as archive:
        names = archive.namelist()
        return [(archive.read(name), MEDIA_TYPES[name.rpartition(".")[2]]) for name in names]

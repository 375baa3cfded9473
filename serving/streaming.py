"""Server-sent events: a generation as it goes, for whoever asks with `Accept: text/event-stream`.

event: preview   {"done", "total", "image"?}                              image: base64, where one is shown
event: done      {"content", "media_type", "metadata", "model", "seconds"}   content: base64
event: error     {"error": {"code", "message", "hint"}}                   nothing follows
"""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from components.contracts import Preview
from components.errors import KyaraError
from serving.errors import body_of, unexpected_error
from serving.request_queue import GoneError
from serving.submitting import Answer, Submit

logger = logging.getLogger("bentoml.kyara")

EVENT_STREAM = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
ALIVE = ": still at work\n\n"
EVERY = 10.0
"""Seconds between two comments while nothing happens, so that no proxy closes the stream."""


def wants_events(http: Request) -> bool:
    """Whether the client asked for a stream."""
    return EVENT_STREAM in http.headers.get("accept", "")


def stream(submit: Submit, request: Any, http: Request) -> StreamingResponse:
    """The generation as events. Raises what `Submit` does before its first event."""
    events = submit.events(request, http)
    return StreamingResponse(_told(events), media_type=EVENT_STREAM, headers=HEADERS)


async def _told(events: AsyncGenerator[Preview | Answer, None]) -> AsyncIterator[str]:
    following: asyncio.Task[Any] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(events))
            ready, _ = await asyncio.wait({following}, timeout=EVERY)
            if not ready:
                yield ALIVE
                continue
            event, following = following.result(), None
            yield _done(event) if isinstance(event, Answer) else _preview(event)
            if isinstance(event, Answer):
                return
    except KyaraError as error:
        yield sse("error", body_of(error))
    except GoneError:
        logger.info("the client left; its generation was stopped")
    except Exception:
        logger.exception("generation failed")
        yield sse("error", body_of(unexpected_error()))
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await events.aclose()


def _preview(event: Preview) -> str:
    image = {} if event.content is None else {"image": base64.b64encode(event.content).decode()}
    return sse("preview", {"done": event.done, "total": event.total, **image})


def _done(answer: Answer) -> str:
    return sse(
        "done",
        {
            "content": base64.b64encode(answer.content).decode(),
            "media_type": answer.media_type,
            "metadata": answer.metadata,
            "model": answer.model,
            "seconds": round(answer.waited, 3),
        },
    )


def sse(event: str, data: Mapping[str, Any]) -> str:
    """One server-sent event; JSON holds no line breaks."""
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"

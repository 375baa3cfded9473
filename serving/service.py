"""The BentoML service `kyara`: answers from the champion, whatever its modality.

POST /generate  JSON -> the product's media type; GET /model, /livez, /readyz (once a model is warm), /metrics, and a
form at /. A request is checked (host and origin, size, JSON, fields), takes a place in the queue, waits for its turn,
and is answered step by step in the engine's thread; all between a request and its answer is the product's generator's.
"""

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import quote

import bentoml
from bentoml.validators import ContentType
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from components.contracts import Done
from components.errors import KyaraError
from components.origins import TrustedOriginMiddleware
from components.settings import settings
from serving.body_limit import BodyLimitMiddleware
from serving.bundled import read_bundled
from serving.champion import Champion, Served
from serving.errors import NotReadyError, answer, unexpected
from serving.pages import application
from serving.request_queue import ClientGoneError, Events, RequestQueue

if TYPE_CHECKING:
    from serving.metrics import Metrics

logger = logging.getLogger("bentoml.kyara")

BUNDLED = read_bundled()
PRODUCT = BUNDLED.open_product()

# Longer than any generation; the queue bounds how many wait.
TIMEOUT_SECONDS = 600
# As nginx logs a client that closed the connection; nobody receives it.
CLIENT_GONE = 499


class Kyara:
    """Answers from one measured, promoted model."""

    metrics: "Metrics"

    def __init__(self) -> None:
        self.champion = Champion(self.load, pinned=BUNDLED.model, watched=BUNDLED.watched)
        self.queue = RequestQueue(BUNDLED.max_concurrency)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Begin to load; `/livez` answers meanwhile."""
        from serving.metrics import Metrics

        self.metrics = Metrics()
        self._watch = asyncio.create_task(self.champion.watch(self.metrics.serves))

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Stop watching; a step under way ends by itself."""
        self._watch.cancel()
        self.champion.close()
        self.queue.close()

    async def __is_ready__(self) -> bool:
        return self.champion.current is not None

    def load(self, folder: Path) -> Served:
        """A model folder as a verified, warm model. Heavy: runs in the champion's thread."""
        generator = PRODUCT.load(folder, BUNDLED.config)
        labels = dict(BUNDLED.labels) if folder == BUNDLED.model else {}
        return Served(generator, {**generator.card, "labels": labels}, folder)

    def served(self) -> Served:
        """The model of this moment. Raises NotReadyError."""
        if self.champion.current is None:
            raise NotReadyError("no model is warm yet.", retry_after=5)
        return self.champion.current

    @bentoml.api(route="/generate", input_spec=PRODUCT.Request)  # type: ignore[untyped-decorator]
    async def generate(self, ctx: bentoml.Context, **fields: Any) -> Annotated[bytes, ContentType(PRODUCT.MEDIA_TYPE)]:
        """Answer one request. Headers name the seed and the model; a picture carries all parameters."""
        response = await self._respond(PRODUCT.Request.model_validate(fields), ctx.request)
        ctx.response.status_code = response.status_code  # BentoML would make it 200
        self.metrics.requests.labels(str(response.status_code)).inc()
        return response  # type: ignore[return-value]  # BentoML passes a ready response on

    async def _respond(self, request: Any, http: Request) -> Response:
        try:
            with self.metrics.depth.track_inprogress():
                return await self._answer(request, http)
        except KyaraError as error:
            return answer(error)
        except ClientGoneError:
            logger.info("the client left; its generation was stopped")
            return Response(status_code=CLIENT_GONE)
        except Exception:
            logger.exception("generation failed: %s", request)
            return unexpected()

    async def _answer(self, request: Any, http: Request) -> Response:
        """The answer of the model that serves when the request's turn comes."""
        began = time.perf_counter()
        served = self.served()

        def start() -> Events:
            nonlocal served
            served = self.served()
            return cast(Events, served.generator.run(request))

        with self.queue.place() as run:
            done = await run(start, lambda: left(http))
        seconds = time.perf_counter() - began
        self.metrics.seconds.labels(served.label).observe(seconds)
        return answered(done, served, seconds)


TOLD = ("prompt", "seed", "confidence")
"""What of an answer's metadata stands in headers too (X-Kyara-Prompt, …; text percent-encoded)."""


def answered(done: Done, served: Served, seconds: float) -> Response:
    """The content with what made it in the headers; `seconds` counts from arrival."""
    told = {f"X-Kyara-{name.title()}": quote(str(done.metadata[name])) for name in TOLD if name in done.metadata}
    headers = {
        **told,
        "X-Kyara-Model": served.label,
        "X-Kyara-Seconds": f"{seconds:.3f}",
        "Cache-Control": "no-store",
    }
    return Response(done.content, media_type=done.media_type, headers=headers)


async def left(http: Request) -> None:
    """Return when the client has closed its connection; its body has been read before."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


kyara: Any = bentoml.service(Kyara, name="kyara", workers=1, traffic={"timeout": TIMEOUT_SECONDS})
kyara.add_asgi_middleware(
    TrustedOriginMiddleware,
    refuse=answer,
    hosts=settings().allowed_hosts,
    origins=settings().allowed_origins,
    any_host=("/livez", "/readyz"),
)
kyara.add_asgi_middleware(
    CORSMiddleware,
    allow_origins=settings().allowed_origins,
    allow_methods=("GET", "POST"),
    allow_headers=("Content-Type",),
    expose_headers=("*",),
)
kyara.add_asgi_middleware(BodyLimitMiddleware, schemas={"/generate": PRODUCT.Request})
kyara.mount_asgi_app(application, path="/")

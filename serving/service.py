"""The BentoML service `kyara`: the champion behind a port, whatever its modality.

BentoML builds the Bento, supervises the worker and counts for Prometheus; the routes are those of
`serving.application`. Around them lie, outermost first: the log, host and origin, CORS, keys, the bound of bodies.
"""

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType
from starlette.middleware.cors import CORSMiddleware

from components.origins import TrustedOriginMiddleware
from components.settings import settings
from serving.application import build
from serving.body_limit import BodyLimitMiddleware
from serving.bundled import BUNDLED, PRODUCT
from serving.champion import Champion, Served
from serving.drain import Drain
from serving.drawing import respond
from serving.errors import NotReadyError, answer
from serving.front import FrontMiddleware
from serving.request_queue import RequestQueue

logger = logging.getLogger("bentoml.kyara")

# BentoML's own, which knows nothing of streams: beyond any of ours.
TIMEOUT_SECONDS = 3600 * 24
application = build()


class Kyara:
    """Answers from one measured, promoted model."""

    def __init__(self) -> None:
        self.champion = Champion(self.load, pinned=BUNDLED.model, watched=BUNDLED.watched)
        self.queue = RequestQueue(BUNDLED.max_concurrency, self.parallel)
        self.drain = Drain(lambda: self.queue.depth)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Begin to load; `/livez` answers meanwhile."""
        from serving.metrics import Metrics
        from serving.submitting import Submit

        metrics = Metrics()
        application.state.submit = Submit(self.served, self.queue, metrics, self.drain)
        self.drain.listen()
        self._watch = asyncio.create_task(self.champion.watch(metrics.serves))

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Stop watching; a step under way ends by itself."""
        self._watch.cancel()
        self.champion.close()
        self.queue.close()

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

    def parallel(self) -> int:
        """Generations at once that the model of this moment can draw."""
        return int(getattr(self.champion.current and self.champion.current.generator, "parallel", 1))

    @bentoml.task(route="/generate", input_spec=PRODUCT.Request)  # type: ignore[untyped-decorator]
    async def generate(self, ctx: bentoml.Context, **fields: Any) -> Annotated[bytes, ContentType(PRODUCT.MEDIA_TYPE)]:
        """What BentoML's schema and client know of; over HTTP the routes of `serving.drawing` come first."""
        response = await respond(PRODUCT.Request.model_validate(fields), ctx.request)
        return response  # type: ignore[return-value]  # BentoML passes a ready response on


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
kyara.add_asgi_middleware(BodyLimitMiddleware)
kyara.add_asgi_middleware(FrontMiddleware, ours=application)

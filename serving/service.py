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
from serving.admission import AdmissionMiddleware
from serving.api.error_shapes import ErrorShapesMiddleware
from serving.application import build, paths
from serving.body_limit import BodyLimitMiddleware
from serving.bundled import BUNDLED, PRODUCT
from serving.champion import Champion, Served
from serving.drain import Drain
from serving.errors import NotReadyError, answer
from serving.front import THEIRS, FrontMiddleware
from serving.keys import open_keys
from serving.logs import configure
from serving.observing import HEADER as REQUEST_ID_HEADER
from serving.observing import ObserveMiddleware, Visits
from serving.request_queue import RequestQueue
from serving.submitting import DEADLINE, Submit
from serving.tasks import Tasks

logger = logging.getLogger("bentoml.kyara")

# BentoML's own, to the first byte: beyond ours, and no longer, for it keeps a timer for every request.
TIMEOUT_SECONDS = settings().request_seconds + settings().body_seconds + 60
PROBES = ("/livez", "/readyz")
FORMS = ("/v1/images/edits",)
application = build()
visits = Visits()


class Kyara:
    """Answers from one measured, promoted model."""

    def __init__(self) -> None:
        self.champion = Champion(self.load, pinned=BUNDLED.model, watched=BUNDLED.watched)
        self.queue = RequestQueue(BUNDLED.max_concurrency, self.parallel)
        self.tasks = Tasks(settings().tasks_kept, settings().tasks_kept_seconds)
        self.drain = Drain(lambda: visits.inside + self.tasks.open, visits.close)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Begin to load; `/livez` answers meanwhile."""
        from serving.metrics import Metrics

        configure(settings().log_format)
        metrics = Metrics(paths())
        metrics.watch(lambda: self.queue.depth, lambda: self.queue.busy, lambda: len(self.tasks))
        visits.count, visits.told = metrics.ended, metrics.refresh
        application.state.submit = Submit(self.served, self.queue, metrics, self.drain)
        application.state.tasks = self.tasks
        application.openapi()  # made once, before anybody waits
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
        return 1 if self.champion.current is None else self.champion.current.generator.parallel

    @bentoml.task(route="/generate", input_spec=PRODUCT.Request)  # type: ignore[untyped-decorator]
    async def generate(self, ctx: bentoml.Context, **fields: Any) -> Annotated[bytes, ContentType(PRODUCT.MEDIA_TYPE)]:
        """For BentoML's schema, its client, and services in the same process; HTTP comes by `serving.drawing`."""
        submit: Submit = application.state.submit
        return (await submit(PRODUCT.Request.model_validate(fields), ctx.request)).content


kyara: Any = bentoml.service(
    Kyara,
    name="kyara",
    workers=1,
    traffic={"timeout": TIMEOUT_SECONDS},
    logging={"access": {"enabled": False}},  # ours tells more
)
kyara.add_asgi_middleware(ObserveMiddleware, visits=visits, quiet=(*PROBES, *THEIRS))
kyara.add_asgi_middleware(ErrorShapesMiddleware)
kyara.add_asgi_middleware(
    TrustedOriginMiddleware,
    refuse=answer,
    hosts=settings().allowed_hosts,
    origins=settings().allowed_origins,
    any_host=PROBES,
)
kyara.add_asgi_middleware(
    CORSMiddleware,
    allow_origins=settings().allowed_origins,
    allow_methods=("GET", "POST", "PUT"),
    allow_headers=("Authorization", "Content-Type", DEADLINE, REQUEST_ID_HEADER, "X-API-Key"),
    expose_headers=("*",),
)
kyara.add_asgi_middleware(AdmissionMiddleware, keys=open_keys(settings()), free=PROBES)
kyara.add_asgi_middleware(BodyLimitMiddleware, seconds=settings().body_seconds, forms=FORMS)
kyara.add_asgi_middleware(FrontMiddleware, ours=application, before=visits.tell)

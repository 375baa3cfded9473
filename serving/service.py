"""The BentoML service `kyara`: text to image from the champion.

POST /generate  JSON -> image/png; GET /model, /livez, /readyz (once a model is warm), /metrics, and a form at /.
A request is checked (host and origin, size, JSON, fields) and takes a place in the queue; then its prompt is read
(Japanese or English, mistakes allowed), it waits for its turn, and is drawn step by step in the engine's thread.
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
from components.image.generation.request import GenerateRequest, PictureRequest
from components.image.reading import read, worded
from components.origins import TrustedOriginMiddleware
from components.portraits.reader.lexicon import LexiconClient
from components.prompting.confidence import read_calibration
from components.prompting.generator import RobustPromptGenerator
from components.prompting.schema import RobustPrompt
from components.settings import settings
from serving.body_limit import BodyLimitMiddleware
from serving.bundled import read_bundled, read_figures
from serving.champion import Champion, Served
from serving.errors import NotReadyError, answer, unexpected
from serving.pages import application
from serving.request_queue import ClientGoneError, Events, RequestQueue

if TYPE_CHECKING:
    from serving.metrics import Metrics

logger = logging.getLogger("bentoml.kyara")

# Longer than any generation; the queue bounds how many wait.
TIMEOUT_SECONDS = 600
# As nginx logs a client that closed the connection; nobody receives it.
CLIENT_GONE = 499


class Kyara:
    """Anime pictures from one measured, promoted model."""

    metrics: "Metrics"

    def __init__(self) -> None:
        self.bundled = read_bundled()
        self.champion = Champion(self.load, pinned=self.bundled.model, watched=self.bundled.watched)
        self.queue = RequestQueue(self.bundled.config.max_concurrency)

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
        from components.image.generator import ImageGenerator

        config = self.bundled.config
        generator = ImageGenerator.load(folder, config.engine, config.precision, config.max_error)
        promoted = generator.promoted
        card = {
            **promoted.card.model_dump(mode="json"),
            "digest": promoted.digest,
            "engine": generator.engine.name,
            "metrics": read_figures(folder),
            "labels": dict(self.bundled.labels) if folder == self.bundled.model else {},
        }
        reader = RobustPromptGenerator(LexiconClient(), calibration=read_calibration(folder))

        def prepare(request: GenerateRequest) -> tuple[GenerateRequest, RobustPrompt | None]:
            prompt = read(request, reader)
            return worded(request, prompt, promoted.card.trigger, generator.bundle.count_tokens), prompt

        return Served(generator, card, folder, prepare)

    def served(self) -> Served:
        """The model of this moment. Raises NotReadyError."""
        if self.champion.current is None:
            raise NotReadyError("no model is warm yet.", retry_after=5)
        return self.champion.current

    @bentoml.api(route="/generate", input_spec=PictureRequest)  # type: ignore[untyped-decorator]
    async def generate(self, ctx: bentoml.Context, **fields: Any) -> Annotated[bytes, ContentType("image/png")]:
        """Draw one picture. The answer's headers name the seed and the model; the PNG carries all parameters."""
        response = await self._respond(GenerateRequest.model_validate(fields), ctx.request)
        ctx.response.status_code = response.status_code  # BentoML would make it 200
        self.metrics.requests.labels(str(response.status_code)).inc()
        return response  # type: ignore[return-value]  # BentoML passes a ready response on

    async def _respond(self, request: GenerateRequest, http: Request) -> Response:
        try:
            with self.metrics.depth.track_inprogress():
                return await self._draw(request, http)
        except KyaraError as error:
            return answer(error)
        except ClientGoneError:
            logger.info("the client left; its generation was stopped")
            return Response(status_code=CLIENT_GONE)
        except Exception:
            logger.exception("generation failed: %s", request)
            return unexpected()

    async def _draw(self, request: GenerateRequest, http: Request) -> Response:
        """The picture of the model that serves when the request's turn comes."""
        began = time.perf_counter()
        served = self.served()

        def start() -> Events:
            nonlocal served
            served = self.served()
            return cast(Events, served.generator.generate(asked))

        with self.queue.place() as run:
            asked, prompt = await asyncio.to_thread(served.prepare, request)
            done = await run(start, lambda: left(http))
        seconds = time.perf_counter() - began
        self.metrics.seconds.labels(served.label).observe(seconds)
        return picture(done, prompt, served, seconds)


def picture(done: Done, prompt: RobustPrompt | None, served: Served, seconds: float) -> Response:
    """PNG bytes with what made them in the headers (text percent-encoded); `seconds` counts from arrival."""
    read_as = {} if prompt is None else {"X-Kyara-Confidence": f"{prompt.confidence:.3f}"}
    headers = {
        **read_as,
        "X-Kyara-Prompt": quote(str(done.metadata["prompt"])),
        "X-Kyara-Seed": str(done.metadata["seed"]),
        "X-Kyara-Model": served.label,
        "X-Kyara-Seconds": f"{seconds:.3f}",
        "Cache-Control": "no-store",
    }
    return Response(done.png, media_type="image/png", headers=headers)


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
kyara.add_asgi_middleware(BodyLimitMiddleware, schemas={"/generate": PictureRequest})
kyara.mount_asgi_app(application, path="/")

"""From a request to its picture: the prompt is read, and how sure that is decides what is drawn.

sure        one picture
in between  the best of a few, by the judge that the confidence was learnt from
unsure      where words are in doubt: nothing; the nearest readings are offered instead of a guess
"""

import io
import secrets
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from components.contracts import Done, Judge, Preview
from components.errors import RequestError
from components.image.families.bundle import Bundle
from components.image.families.syntax import MAX_CHUNKS
from components.image.generation.cost import check_cost, cost
from components.image.generation.engine import Engine, build_engine
from components.image.generation.guidance import Guidance
from components.image.generation.latent import initial_noise, load_variant, sample, to_images
from components.image.generation.metadata import kyara_version, to_png
from components.image.generation.request import MAX_SEED, GenerateRequest
from components.image.generation.schedulers import choose_sampler
from components.image.judging import open_judge
from components.image.product import LCM, LORA, MEDIA_TYPE, PromotedModel, read_model
from components.image.promptset import with_trigger
from components.image.reading import offers, read, worded
from components.plugins import plugin
from components.prompting.confidence import read_calibration
from components.prompting.generator import RobustPromptGenerator
from components.prompting.schema import RobustPrompt
from components.prompting.setup import make_generator
from components.settings import settings

LARGEST = 4  # times the model's own side, and times its own area


@dataclass(frozen=True)
class Drawn:
    """One picture and what made it."""

    image: Image.Image
    facts: dict[str, Any]


class ImageGenerator:
    """A loaded model behind an engine. Several threads may generate at once; the engine takes one step at a time.

    Args:
        reader: who reads prompts; None: they reach the model as typed.
    """

    def __init__(
        self, bundle: Bundle, promoted: PromotedModel, engine: Engine, reader: RobustPromptGenerator | None = None
    ) -> None:
        self.bundle, self.promoted, self.engine, self.reader = bundle, promoted, engine, reader

    @classmethod
    def load(
        cls,
        folder: Path,
        engine: str = "auto",
        precision: str = "auto",
        max_error: float = 0.05,
        *,
        verify: bool = True,
    ) -> "ImageGenerator":
        """A promoted model's folder, loaded, fused, compiled and warm.

        Raises:
            ModelError, ArtifactError: the folder is not a sound promoted model.
        """
        promoted = read_model(folder, verify=verify)
        card = promoted.card
        lcm = None if card.mode == "none" else promoted.folder / LCM
        bundle = load_variant(promoted.base, lora=promoted.folder / LORA, lcm=lcm)
        side = card.model.resolution
        built = build_engine(
            bundle,
            engine,
            precision,
            max_error=max_error,
            cache_dir=settings().state / "cache" / "engine",
            size=(side, side),
            prompt=card.trigger,
            steps=card.steps,
        )
        reader = None if card.reader is None else plugin("reader", card.reader)
        return cls(bundle, promoted, built, make_generator(reader, read_calibration(folder)))

    @cached_property
    def card(self) -> Mapping[str, Any]:
        """What `GET /model` shows: the promoted model's card, its digest, the engine, and what was measured for it."""
        return {
            **self.promoted.card.model_dump(mode="json"),
            "digest": self.promoted.digest,
            "engine": self.engine.name,
            "metrics": self.promoted.metrics,
        }

    @cached_property
    def judge(self) -> Judge | None:
        """Who chooses among several pictures; None: nobody can."""
        config = self.promoted.card.judge
        folder = self.promoted.folder / (config.folder or "") if config else None
        return None if config is None or folder is None else open_judge(config, {"judge": folder})

    def run(self, request: GenerateRequest, *, previews: bool = False) -> Iterator[Preview | Done]:
        """One Preview per step, then Done. Closing the iterator cancels; `previews`: with a picture each.

        Raises:
            RequestError: a value that this model cannot serve, or words that can be read in several ways; the message
                then offers the nearest readings.
        """
        started = time.perf_counter()
        prompt = read(request, self.reader)
        self._refuse_doubt(request, prompt)
        asked = worded(request, prompt, self.promoted.card.trigger, self.bundle.count_tokens)
        drawn = yield from self._best(asked, self._tries(request, prompt), prompt, previews)
        facts = drawn.facts if prompt is None else {**drawn.facts, "confidence": round(prompt.confidence, 4)}
        yield Done(to_png(drawn.image, facts), MEDIA_TYPE, facts, time.perf_counter() - started)

    def answer(self, request: GenerateRequest) -> Done:
        """`run` without the events."""
        *_, last = self.run(request)
        assert isinstance(last, Done)
        return last

    def _refuse_doubt(self, request: GenerateRequest, prompt: RobustPrompt | None) -> None:
        here = settings()
        enough = here.prompts_sure if request.strict else here.prompts_unsure
        if prompt is None or self.reader is None or prompt.confidence >= enough:
            return
        if others := offers(prompt, self.reader.vocabulary):
            raise RequestError(
                f"the request {request.prompt!r} can be read in several ways (confidence {prompt.confidence:.2f}).",
                hint="Did you mean one of these?\n" + "\n".join(f"  {other}" for other in others),
            )

    def _tries(self, request: GenerateRequest, prompt: RobustPrompt | None) -> int:
        """Pictures of which the best is kept. A request that names its seed gets that very picture."""
        here = settings()
        if prompt is None or request.seed is not None or prompt.confidence >= here.prompts_sure or self.judge is None:
            return 1
        return here.prompts_best_of

    def _best(
        self, request: GenerateRequest, tries: int, prompt: RobustPrompt | None, previews: bool
    ) -> Generator[Preview, None, Drawn]:
        """Of `tries` pictures at neighbouring seeds the one that shows most of what was asked; the first of equals."""
        start = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
        drawn: list[Drawn] = []
        for turn in range(tries):
            seed = (start + turn) % (MAX_SEED + 1)
            for event in self._draw(request, seed, previews):
                if isinstance(event, Drawn):
                    drawn.append(event)
                else:
                    yield Preview(turn * event.total + event.done, tries * event.total, event.content)
        if tries == 1 or prompt is None or self.judge is None:
            return drawn[0]
        shown = self._shown(drawn, prompt.draft.asked)
        return drawn[shown.index(max(shown))]

    def _shown(self, drawn: Sequence[Drawn], asked: Mapping[str, str]) -> list[int]:
        assert self.judge is not None
        hits = self.judge.hits(self.judge.look([one.image for one in drawn]), [asked] * len(drawn))
        return [sum(int(values[row] == 1) for values in hits.values()) for row in range(len(drawn))]

    def _draw(self, request: GenerateRequest, seed: int, previews: bool) -> Iterator[Preview | Drawn]:
        card = self.promoted.card
        width, height = self._size(request)
        steps = request.steps or card.steps
        sampler = choose_sampler(self.bundle, request.sampler)
        asked = card.guidance if request.guidance_scale is None else request.guidance_scale
        guidance = Guidance.of(self.bundle, asked)
        prompt = with_trigger(request.prompt, card.trigger) if request.trigger else request.prompt
        chunks = self._chunks(prompt, *([request.negative_prompt] if guidance.compares else []))
        area = width * height / card.model.resolution**2
        check_cost(cost(steps=steps, area=area, chunks=chunks, compares=guidance.compares))
        condition = self.engine.encode([prompt], chunks)
        negative = self.engine.encode([request.negative_prompt], chunks) if guidance.compares else None
        noise = initial_noise(self.bundle, [seed], height, width)
        latents = noise
        for done, latents in sample(
            self.bundle, condition, negative, noise=noise, steps=steps, guidance=asked, kind=sampler,
            seeds=[seed], predict=self.engine.predict,
        ):  # fmt: skip
            shown = _png(to_images(self.engine.decode(latents))[0]) if previews else None
            yield Preview(done, steps, shown)
        image = to_images(self.engine.decode(latents))[0]
        facts = self._facts(request, image, guidance, prompt=prompt, seed=seed, steps=steps, sampler=sampler)
        yield Drawn(image, facts)

    def _chunks(self, *prompts: str) -> int:
        """Chunks of the text encoder's length that hold all of the longest prompt."""
        chunks = self.bundle.chunks_for(*prompts)
        if chunks > MAX_CHUNKS:
            count = max(map(self.bundle.count_tokens, prompts))
            most = MAX_CHUNKS * (self.bundle.tokenizers[0].model_max_length - 2)
            raise RequestError(f"the prompt has {count} tokens: expected at most {most}.", hint="Shorten it.")
        return chunks

    def _size(self, request: GenerateRequest) -> tuple[int, int]:
        """Width and height in pixels. The UNet halves latents at every level but the last: sides are multiples."""
        own = self.promoted.card.model.resolution
        width, height = request.width or own, request.height or own
        unit = self.bundle.scale * 2 ** (len(self.bundle.unet.config.block_out_channels) - 1)
        for name, side in (("width", width), ("height", height)):
            if side % unit or side > LARGEST * own:
                raise RequestError(f"{name} {side} is wrong: expected a multiple of {unit}, at most {LARGEST * own}.")
        if width * height > LARGEST * own**2:
            raise RequestError(f"{width}x{height} is too large: expected at most {LARGEST * own**2} pixels.")
        return width, height

    def _facts(
        self,
        request: GenerateRequest,
        image: Image.Image,
        guidance: Guidance,
        *,
        prompt: str,
        seed: int,
        steps: int,
        sampler: str,
    ) -> dict[str, Any]:
        card = self.promoted.card
        return {
            "prompt": prompt,
            "negative_prompt": request.negative_prompt,
            "seed": seed,
            "steps": steps,
            "sampler": sampler,
            "guidance_scale": guidance.scale,
            "warnings": guidance.warnings(request.negative_prompt),
            "width": image.width,
            "height": image.height,
            "model": card.name,
            "model_version": card.version,
            "model_digest": self.promoted.digest,
            "license": card.license,
            "engine": self.engine.name,
            "kyara": kyara_version(),
        }


def _png(image: Image.Image) -> bytes:
    """A preview: quickly written, nothing told."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

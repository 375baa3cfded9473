"""Text to picture with a promoted model, as a generator of events."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from components.contracts import Done, Preview
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
from components.image.product import LCM, LORA, PromotedModel, read_model
from components.image.promptset import with_trigger
from components.settings import settings

LARGEST = 4  # times the model's own side, and times its own area


class ImageGenerator:
    """A loaded model behind an engine. Several threads may generate at once; the engine takes one step at a time."""

    def __init__(self, bundle: Bundle, promoted: PromotedModel, engine: Engine) -> None:
        self.bundle, self.promoted, self.engine = bundle, promoted, engine

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
        bundle = load_variant(promoted.base, lora=promoted.folder / LORA, lcm=promoted.folder / LCM)
        card = promoted.card
        cache = settings().state / "cache" / "engine"
        side = card.model.resolution
        built = build_engine(
            bundle,
            engine,
            precision,
            max_error=max_error,
            cache_dir=cache,
            size=(side, side),
            prompt=card.trigger,
            steps=card.steps,
        )
        return cls(bundle, promoted, built)

    def generate(self, request: GenerateRequest) -> Iterator[Preview | Done]:
        """One Preview per step, then Done. Closing the iterator cancels.

        Raises:
            RequestError: a value that this model cannot serve.
        """
        started = time.perf_counter()
        width, height = self._size(request)
        seed = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
        steps = request.steps or self.promoted.card.steps
        prompt = self._prompt(request)
        sampler = choose_sampler(self.bundle, request.sampler)
        guidance = Guidance.of(self.bundle, request.guidance_scale)
        chunks = self._chunks(prompt, *([request.negative_prompt] if guidance.compares else []))
        area = width * height / self.promoted.card.model.resolution**2
        check_cost(cost(steps=steps, area=area, chunks=chunks, compares=guidance.compares))
        condition = self.engine.encode([prompt], chunks)
        negative = self.engine.encode([request.negative_prompt], chunks) if guidance.compares else None
        noise = initial_noise(self.bundle, [seed], height, width)
        latents = noise
        for done, latents in sample(
            self.bundle, condition, negative, noise=noise, steps=steps, guidance=request.guidance_scale, kind=sampler,
            seeds=[seed], predict=self.engine.predict,
        ):  # fmt: skip
            yield Preview(done, steps, to_images(self.engine.decode(latents))[0] if request.preview else None)
        image = to_images(self.engine.decode(latents))[0]
        facts = self._facts(request, image, guidance, prompt=prompt, seed=seed, steps=steps, sampler=sampler)
        yield Done(image, to_png(image, facts), facts, time.perf_counter() - started)

    def draw(self, request: GenerateRequest) -> Done:
        """`generate` without the events."""
        *_, last = self.generate(request)
        assert isinstance(last, Done)
        return last

    def _prompt(self, request: GenerateRequest) -> str:
        return with_trigger(request.prompt, self.promoted.card.trigger) if request.trigger else request.prompt

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

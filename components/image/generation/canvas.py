"""What a mode draws with: one model at work on one request and one seed.

    plan = canvas.plan(*canvas.size())                       checked, encoded, counted
    latents = yield from canvas.sample(plan)                 one Preview a step
    yield canvas.drawn(plan, canvas.picture(latents))

All plans are made before the first step, so that what a request costs is known before anything is drawn.
"""

import io
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from components.contracts import Judge, Preview
from components.errors import RequestError
from components.image.families.bundle import Bundle, Condition, Residuals
from components.image.families.syntax import MAX_CHUNKS
from components.image.generation.cost import check_cost, cost
from components.image.generation.engine import Engine
from components.image.generation.fused import Fused
from components.image.generation.guidance import Guidance
from components.image.generation.latent import Predict, initial_noise, sample, steps_from, to_images
from components.image.generation.loras import Loras, PlainEngine, chosen
from components.image.generation.metadata import kyara_version, pictures_in, told
from components.image.generation.pictures import decoded
from components.image.generation.request import GenerateRequest, SamplerName
from components.image.generation.schedulers import choose_sampler
from components.image.generation.slots import REFINER_STEPS, Adapter, Slots, refined, with_picture
from components.image.generation.start import Keep
from components.image.promptset import with_trigger
from components.prompting.vocabulary import EMPTY, Vocabulary

if TYPE_CHECKING:
    from components.image.product import PromotedModel

LARGEST = 4  # times the model's own side, and times its own area
PNG = "image/png"


@dataclass(frozen=True)
class Drawn:
    """One answer and what made it. `content` None: the image as PNG; else what is handed out (an animation, say), and
    `image` is what a judge looks at. `pictures`: what it was drawn from, by digest.
    """

    image: Image.Image
    facts: dict[str, Any]
    content: bytes | None = None
    media_type: str = PNG
    pictures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """One denoising. `strength` < 1: only the last part of the steps, from a given picture; `calls` are the steps made.

    `size` is (width, height) in pixels; `condition` [1] and, where guidance compares, `negative` [1].
    """

    size: tuple[int, int]
    steps: int
    calls: int
    strength: float
    sampler: SamplerName
    guidance: Guidance
    prompt: str
    condition: Condition
    negative: Condition | None


@dataclass
class Canvas:
    """One request on one model. `pictures` of equal cost are drawn for it in all, of which this is one.

    `bundle` is the model in plain torch, whose UNet is the only one; `engine` runs it, or what was made of it, and
    `plain` runs it as it is: `use_plain` is for modes that need more of the UNet than a converted one gives. A request
    with LoRAs is drawn by an engine of `fused` where that has one for it, else by `plain`.
    `vocabulary` is what the model can be asked for by name; `judges` opens the model's judge, where it has one;
    `words` puts a further prompt of the request into the model's words, as its own was.
    """

    promoted: "PromotedModel"
    bundle: Bundle
    engine: Engine
    plain: PlainEngine
    slots: Slots
    request: GenerateRequest
    seed: int
    previews: bool = False
    pictures: int = 1
    warnings: list[str] = field(default_factory=list)
    loras: Loras = ()
    vocabulary: Vocabulary = EMPTY
    judges: Callable[[], Judge | None] = lambda: None
    words: Callable[[str], str] = str
    fused: Fused | None = None
    _unets: dict[Hashable, Engine] = field(default_factory=dict)
    _autoencoder: Bundle | None = None
    _refiner: Any = None
    _adapter: Adapter | None = None
    _seen: tuple[Tensor, Tensor] | None = None
    _cost: float = 0.0
    _total: int = 0
    _done: int = 0

    def __post_init__(self) -> None:
        """Load what the request names; what cannot be loaded is refused here, before anything is drawn."""
        request = self.request
        self.loras = chosen(request.loras)
        self._autoencoder = self.slots.with_vae(request.vae) if request.vae else None
        self._refiner = self.slots.refiner(request.refiner.name) if request.refiner else None
        if request.ip_adapter or (self.loras and self.fused is None):
            self.use_plain()
        if request.ip_adapter or (self.loras and not (self.fused and self.fused.knows(self.loras))):
            with self.plain.using(self.loras):
                self._adapter = self.slots.adapter(request.ip_adapter.name) if request.ip_adapter else None
        self.warnings += self.plain.partly(self.loras)
        if request.ip_adapter and self._adapter:
            self._seen = self._adapter.look(decoded(request.ip_adapter.image, "ip_adapter.image"))

    def use_plain(self) -> None:
        """Draw with plain torch."""
        self.engine = self.plain

    def predict(
        self,
        latents: Tensor,
        t: Tensor,
        condition: Condition,
        guidance: Tensor | None = None,
        residuals: Residuals | None = None,
    ) -> Tensor:
        """The UNet's output with this request's LoRAs and IP-Adapter, as Bundle.predict."""
        if self._adapter is None and residuals is None:
            engine = self._unet(latents, condition)
            if isinstance(engine, PlainEngine):
                return engine.predict(latents, t, condition, guidance, self.loras)
            return engine.predict(latents, t, condition, guidance)
        with torch.no_grad(), self.plain.using(self.loras) as bundle:
            if self._adapter is None or self._seen is None or self.request.ip_adapter is None:
                return bundle.predict(latents, t, condition, guidance, residuals=residuals)
            weight = self.request.ip_adapter.weight
            return with_picture(bundle, self._adapter, self._seen, weight)(latents, t, condition, guidance, residuals)

    def _unet(self, latents: Tensor, condition: Condition) -> Engine:
        """Who runs calls of these shapes, the same from the first step of a request to its last."""
        if not self.loras or self.engine is self.plain or self.fused is None:
            return self.engine
        shapes = (latents.shape, condition.hidden.shape)
        if shapes not in self._unets:
            self._unets[shapes] = self.fused.get(self.loras, latents, condition) or self.plain
        return self._unets[shapes]

    @property
    def judge(self) -> Judge | None:
        """Who can look at what is drawn; None: nobody."""
        return self.judges()

    def size(self, width: int | None = None, height: int | None = None) -> tuple[int, int]:
        """Width and height in pixels: the request's, else the given ones, else the model's own.

        The UNet halves latents at every level but the last, so sides are multiples. Raises RequestError.
        """
        own = self.promoted.card.model.resolution
        return self.checked(self.request.width or width or own, self.request.height or height or own)

    @property
    def unit(self) -> int:
        """Pixels of which a side is a multiple."""
        return int(self.bundle.scale * 2 ** (len(self.bundle.unet.config.block_out_channels) - 1))

    def checked(self, width: int, height: int) -> tuple[int, int]:
        """A size that this model can draw. Raises RequestError."""
        own, unit = self.promoted.card.model.resolution, self.unit
        for name, side in (("width", width), ("height", height)):
            if side % unit or side > LARGEST * own:
                raise RequestError(f"{name} {side} is wrong: expected a multiple of {unit}, at most {LARGEST * own}.")
        if width * height > LARGEST * own**2:
            raise RequestError(f"{width}x{height} is too large: expected at most {LARGEST * own**2} pixels.")
        return width, height

    def plan(
        self,
        width: int,
        height: int,
        *,
        strength: float = 1.0,
        steps: int | None = None,
        prompt: str | None = None,
        controls: int = 0,
    ) -> Plan:
        """Check, encode and count one denoising.

        Args:
            strength: share of the noise that is put on a given picture (SDEdit, arXiv 2108.01073); 0: nothing is drawn.
            steps: None: the request's, else the model's own.
            prompt: None: the request's.
            controls: ControlNets that are asked at each step.

        Raises:
            RequestError: what this model cannot do, or all plans of this request together cost too much.
        """
        card, request = self.promoted.card, self.request
        steps = steps or request.steps or card.steps
        sampler = choose_sampler(self.bundle, request.sampler)
        asked = card.guidance if request.guidance_scale is None else request.guidance_scale
        guidance = Guidance.of(self.bundle, asked)
        text = request.prompt if prompt is None else prompt
        text = with_trigger(text, card.trigger) if request.trigger else text
        chunks = self._chunks(text, *([request.negative_prompt] if guidance.compares else []))
        calls = steps_from(self.bundle, steps, sampler, strength)
        area = width * height / card.model.resolution**2
        compares = guidance.compares
        once = cost(steps=calls, area=area, chunks=chunks, compares=compares, controls=controls)
        if request.refiner:
            once += cost(steps=max(1, int(REFINER_STEPS * request.refiner.strength)), area=area, compares=True)
        self._cost += self.pictures * once
        check_cost(self._cost)
        self._total += calls
        condition = self.engine.encode([text], chunks)
        negative = self.engine.encode([request.negative_prompt], chunks) if guidance.compares else None
        return Plan((width, height), steps, calls, strength, sampler, guidance, text, condition, negative)

    def count(self, plan: Plan, calls: int) -> None:
        """Count further calls of the UNet under a plan's prompt, before anything is drawn. Raises RequestError."""
        width, height = plan.size
        area = width * height / self.promoted.card.model.resolution**2
        self._cost += self.pictures * cost(steps=calls, area=area, chunks=self.bundle.chunks_for(plan.prompt))
        check_cost(self._cost)

    def noise(self, plan: Plan) -> Tensor:
        """Standard normal latents [1, C, h, w] of this seed."""
        width, height = plan.size
        return initial_noise(self.bundle, [self.seed], height, width)

    def sample(
        self,
        plan: Plan,
        *,
        noise: Tensor | None = None,
        clean: Tensor | None = None,
        keep: Keep | None = None,
        predict: Predict | None = None,
    ) -> Generator[Preview, None, Tensor]:
        """Denoise as planned, one Preview a step; returns the final latents [1, C, h, w].

        Args:
            noise: None: of the seed.
            clean: latents of a given picture, where `strength` < 1.
            keep: what stays as it is (inpainting).
            predict: None: `self.predict`.
        """
        latents = clean
        asked = plan.guidance.asked
        if predict is not None and self._adapter is not None:
            self.warnings.append("ip_adapter has no effect: this mode asks the UNet in its own way.")
        for _, latents in sample(
            self.bundle, plan.condition, plan.negative, noise=self.noise(plan) if noise is None else noise,
            steps=plan.steps, guidance=asked, kind=plan.sampler, seeds=[self.seed], clean=clean,
            strength=plan.strength, keep=keep, predict=predict or self.predict,
        ):  # fmt: skip
            yield self.step(latents)
        assert latents is not None, "strength 0 needs the latents of a picture"
        return self._refined(plan, latents)

    def _refined(self, plan: Plan, latents: Tensor) -> Tensor:
        """Drawn over by the refiner, where the request names one: one call, which cannot be stopped midway."""
        if self._refiner is None or self.request.refiner is None:
            return latents
        strength, negative = self.request.refiner.strength, self.request.negative_prompt
        return refined(self._refiner, latents, plan.prompt, negative, strength, self.seed)

    def step(self, latents: Tensor | None = None) -> Preview:
        """One more of the planned steps is done; its picture where previews are asked."""
        self._done += 1
        shown = png(self.picture(latents)) if self.previews and latents is not None else None
        return Preview(self._done, max(self._total, self._done), shown)

    def picture(self, latents: Tensor) -> Image.Image:
        """Latents [1, C, h, w] as a picture."""
        decode = self.engine.decode if self._autoencoder is None else self._autoencoder.decode_latents
        return to_images(decode(latents))[0]

    def encode(self, image: Image.Image) -> Tensor:
        """A picture of a drawable size as latents [1, C, h, w] on the CPU."""
        encode = self.engine.encode_images if self._autoencoder is None else self._autoencoder.encode_images
        return encode(pixels(image)).cpu()

    def given(self, picture: str, field: str) -> Image.Image:
        """A picture of the request, decoded, at the size that is drawn: its own, or the request's width and height.

        Raises:
            RequestError: it cannot be decoded, or has a size that this model cannot draw.
        """
        image = decoded(picture, field)
        try:
            size = self.size(*image.size)
        except RequestError as error:
            hint = "It is resized where the request has a width and a height."
            raise RequestError(f"{field} has {image.width}x{image.height} pixels: {error.message}", hint=hint) from None
        return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)

    def drawn(self, plan: Plan, image: Image.Image, **more: Any) -> Drawn:
        """The answer: the picture and what made it, this mode's own fields included; `more` wins."""
        return Drawn(image, self.facts(plan, image, **more), pictures=pictures_in(self.request))

    def facts(self, plan: Plan, image: Image.Image, **more: Any) -> dict[str, Any]:
        """What made the picture (JSON); `request` in it makes it again."""
        card, request = self.promoted.card, self.request
        return {
            "mode": request.mode,
            "prompt": plan.prompt,
            "negative_prompt": request.negative_prompt,
            "seed": self.seed,
            "steps": plan.steps,
            "sampler": plan.sampler,
            "guidance_scale": plan.guidance.scale,
            "loras": dict(request.loras),
            "warnings": [*plan.guidance.warnings(request.negative_prompt), *self.warnings],
            "width": image.width,
            "height": image.height,
            "model": card.name,
            "model_version": card.version,
            "model_digest": self.promoted.digest,
            "license": card.license,
            "engine": next(iter(self._unets.values()), self.engine).name,
            "kyara": kyara_version(),
            "request": self._again(plan),
            **more,
        }

    def _again(self, plan: Plan) -> dict[str, Any]:
        """The request that gives this very picture: nothing left to chance, to a reader or to defaults."""
        known = {"seed": self.seed, "steps": plan.steps, "sampler": plan.sampler, "raw": True, "strict": False, "n": 1}
        return told(self.request.model_copy(update=known))

    def _chunks(self, *prompts: str) -> int:
        """Chunks of the text encoder's length that hold all of the longest prompt."""
        chunks = self.bundle.chunks_for(*prompts)
        if chunks > MAX_CHUNKS:
            count = max(map(self.bundle.count_tokens, prompts))
            most = MAX_CHUNKS * (self.bundle.tokenizers[0].model_max_length - 2)
            raise RequestError(f"the prompt has {count} tokens: expected at most {most}.", hint="Shorten it.")
        return chunks


Events = Iterator[Preview | Drawn]
Draw = Callable[[Canvas, Any], Events]


def pixels(image: Image.Image) -> Tensor:
    """An RGB picture as [1, 3, H, W] in [-1, 1]."""
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return data.view(1, image.height, image.width, 3).permute(0, 3, 1, 2).float() / 127.5 - 1


def png(image: Image.Image) -> bytes:
    """A preview: quickly written, nothing told."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

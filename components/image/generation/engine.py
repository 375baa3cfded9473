"""What runs the networks: torch as it is, OpenVINO on a CPU, torch.compile on a GPU.

An engine is a bundle whose modules run elsewhere, plus a lock: several requests may interleave, the networks see one
call at a time. Where `parallel` is above 1, steps that several threads ask for at one time are that one call. How far
an engine may stray is measured, never assumed: one picture is drawn with plain torch and with it.
"""

import copy
import logging
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from components.errors import EnvironmentProblem, KyaraError
from components.image.families.bundle import Bundle, Condition, pick_dtype
from components.image.generation.collecting import Collector
from components.image.generation.latent import Predict, initial_noise, last, sample
from components.image.generation.texts import TextCache

logger = logging.getLogger("kyara")
PARALLEL = 8
"""Pictures at once where batching pays."""


class Call(NamedTuple):
    """One call of a UNet, as Bundle.predict takes it."""

    latents: Tensor
    t: Tensor
    condition: Condition
    guidance: Tensor | None = None

    @property
    def shape(self) -> Hashable:
        """Equal for calls that can be one batch."""
        parts = (self.latents, self.t, *vars(self.condition).values(), self.guidance)
        return tuple(None if part is None else (part.dtype, part.shape[1:]) for part in parts)

    @classmethod
    def cat(cls, calls: Sequence["Call"]) -> "Call":
        """Several of one shape as one, in order."""
        if len(calls) == 1:
            return calls[0]
        guidance = [call.guidance for call in calls if call.guidance is not None]
        return cls(
            torch.cat([call.latents for call in calls]),
            torch.cat([call.t for call in calls]),
            Condition.cat([call.condition for call in calls]),
            torch.cat(guidance) if guidance else None,
        )

    def padded(self, rows: int) -> "Call":
        """With its last row as often as it takes to have `rows`."""
        places = torch.arange(rows).clamp(max=len(self.latents) - 1)
        return Call(*(None if part is None else part[places] for part in self))  # type: ignore[arg-type]


Reweigh = Callable[[Mapping[str, Tensor], str], Any]
"""A UNet with these added to its weights, by name of the module, in a precision; raises ValueError where it cannot."""


@dataclass
class Engine:
    """`errors` against plain torch, relative: "latents" (a whole picture's denoising) and "picture" (decoding).

    `parallel` is how many threads may draw at once to advantage; `reweigh` makes its UNet anew with other weights,
    where that is quicker than to build another engine.
    """

    bundle: Bundle
    kind: str
    precision: dict[str, str]
    errors: dict[str, float] = field(default_factory=dict)
    parallel: int = 1
    reweigh: Reweigh | None = field(default=None, repr=False)
    texts: TextCache = field(default_factory=TextCache, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.steps = Collector(self._lock, self.parallel)
        self.decodes = Collector(self._lock, self.parallel)

    @property
    def name(self) -> str:
        """For people: kind and the UNet's precision."""
        return f"{self.kind} {self.precision['unet']}"

    def encode(self, prompts: Sequence[str], chunks: int = 1) -> Condition:
        """As Bundle.encode_prompts; what was asked last is kept."""

        def encode() -> Condition:
            with self._lock:
                return self.bundle.encode_prompts(prompts, chunks)

        return self.texts.get((tuple(prompts), chunks), encode)

    @torch.no_grad()
    def predict(self, latents: Tensor, t: Tensor, condition: Condition, guidance: Tensor | None = None) -> Tensor:
        """As Bundle.predict."""
        call = Call(latents, t, condition, guidance)
        result: Tensor = self.steps(call.shape, call, self._predict)
        return result

    def encode_images(self, images: Tensor) -> Tensor:
        """As Bundle.encode_images."""
        with self._lock:
            return self.bundle.encode_images(images)

    def decode(self, latents: Tensor) -> Tensor:
        """As Bundle.decode_latents."""
        result: Tensor = self.decodes((latents.dtype, latents.shape[1:]), latents, self._decode)
        return result

    def sharing(self, unet: Any, precision: str, error: float) -> "Engine":
        """The same networks but for the UNet, behind the same lock; `error` is its own against plain torch."""
        return Engine(
            replace(self.bundle, unet=unet), self.kind, {**self.precision, "unet": precision},
            {**self.errors, "latents": error}, texts=self.texts, _lock=self._lock,
        )  # fmt: skip

    def _predict(self, calls: Sequence[Call]) -> Sequence[Tensor]:
        return self.together(self.bundle, calls)

    def together(self, bundle: Bundle, calls: Sequence[Call]) -> Sequence[Tensor]:
        """The outputs of calls of one shape, from one call of `bundle`'s UNet."""
        counts = [len(call.latents) for call in calls]
        whole = Call.cat(calls)
        if self.kind == "compiled":  # one graph a batch size: powers of two are few
            whole = whole.padded(2 ** (sum(counts) - 1).bit_length())
        return bundle.predict(*whole)[: sum(counts)].split(counts)

    def _decode(self, some: Sequence[Tensor]) -> Sequence[Tensor]:
        if len(some) == 1:
            return [self.bundle.decode_latents(some[0])]
        return self.bundle.decode_latents(torch.cat(list(some))).split([len(each) for each in some])


class Decoder(nn.Module):
    """Stands in for a VAE whose decoder runs elsewhere."""

    def __init__(self, vae: Any, decode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.config, self.encode, self._decode = vae.config, vae.encode, decode

    def decode(self, latents: Tensor) -> SimpleNamespace:
        """As AutoencoderKL.decode."""
        return SimpleNamespace(sample=self._decode(latents))


@dataclass(frozen=True)
class Reference:
    """One picture drawn with plain torch: what it was asked with, its latents and its pixels."""

    prompt: str
    steps: int
    noise: Tensor
    latents: Tensor
    pixels: Tensor

    @classmethod
    def of(cls, bundle: Bundle, prompt: str, steps: int, size: tuple[int, int]) -> "Reference":
        """Width and height of `size` in pixels; seed 0."""
        noise = initial_noise(bundle, [0], size[1], size[0])
        latents = denoised(bundle, noise, bundle.encode_prompts([prompt]), steps)
        return cls(prompt, steps, noise, latents, bundle.decode_latents(latents))

    def drawn(self, bundle: Bundle) -> Tensor:
        """The latents that another bundle makes of it."""
        return denoised(bundle, self.noise, bundle.encode_prompts([self.prompt]), self.steps)

    def errors(self, bundle: Bundle) -> dict[str, float]:
        """Relative errors of another bundle's latents, and of its decoding of this picture's latents."""
        latents = self.drawn(bundle)
        return {
            "latents": relative_error(latents, self.latents),
            "picture": relative_error(bundle.decode_latents(self.latents), self.pixels),
        }


def relative_error(value: Tensor, reference: Tensor) -> float:
    """|value - reference| / |reference|, Euclidean norms over everything."""
    return float((value.float() - reference.float()).norm() / reference.float().norm())


def build_engine(
    bundle: Bundle,
    kind: str = "auto",
    precision: str = "auto",
    max_error: float = 0.05,
    cache_dir: Path | None = None,
    size: tuple[int, int] | None = None,
    *,
    prompt: str = "",
    steps: int = 4,
    parallel: int | None = None,
) -> Engine:
    """The fastest engine of this machine whose error stays in bounds, warm for one picture of `size` (width, height).

    Args:
        kind: auto (OpenVINO on a CPU, compiled on a GPU), eager, openvino or compiled.
        precision: auto (bfloat16 where the machine has it and its error is at most `max_error`), float32 or bfloat16.
        cache_dir: where converted networks are kept, by digest of the weights.
        prompt, steps: of the picture that errors are measured on.
        parallel: how many pictures are drawn at once; None: what pays, 8 in plain torch on a GPU and 1 elsewhere
            (batching hardly helps a CPU, and torch.compile takes a minute for each batch size).

    Raises:
        EnvironmentProblem: the engine that was asked for does not run here.
    """
    side = int(bundle.unet.config.sample_size) * bundle.scale
    size = size or (side, side)
    chosen = ("compiled" if bundle.device.type == "cuda" else "openvino") if kind == "auto" else kind
    if chosen == "eager" or (kind == "auto" and bundle.device.type not in ("cpu", "cuda")):
        name = str(bundle.dtype).removeprefix("torch.")
        parallel = parallel or (PARALLEL if bundle.device.type == "cuda" else 1)
        return Engine(bundle, "eager", {"unet": name, "vae": "float32"}, parallel=parallel)
    reference = Reference.of(bundle, prompt, steps, size)
    try:
        if chosen == "openvino":
            from components.image.generation.openvino_engine import build_openvino

            return build_openvino(bundle, reference, precision, max_error, cache_dir)
        return _build_compiled(bundle, reference, precision, max_error, parallel or 1)
    except KyaraError:
        raise
    except Exception as error:  # a compiler may fail in any way; plain torch always works
        if kind != "auto":
            raise EnvironmentProblem(
                f"engine {chosen!r} does not run here: {error}.", hint="Use engine auto or eager."
            ) from error
        logger.warning("engine %r failed, going on with plain torch: %s", chosen, error)
        return build_engine(bundle, "eager", parallel=parallel)


def accept(precision: str, part: str, error: float, max_error: float) -> bool:
    """Whether a part may stay in bfloat16; one that was asked for in bfloat16 stays, with a warning."""
    if error <= max_error:
        return True
    logger.warning(
        "%s in bfloat16 strays by %.3f (at most %.3f)%s",
        part,
        error,
        max_error,
        "" if precision == "bfloat16" else ": float32",
    )
    return precision == "bfloat16"


def _build_compiled(bundle: Bundle, reference: Reference, precision: str, max_error: float, parallel: int) -> Engine:
    """torch.compile, one graph a shape. The first calls compile, so this takes a minute."""
    low = pick_dtype(precision, bundle.device)
    compiled = _compile(bundle, low)
    errors = reference.errors(compiled)
    accepted = [accept(precision, part, error, max_error) for part, error in errors.items()]
    if low is not torch.float32 and not all(accepted):
        low = torch.float32
        compiled = _compile(bundle, low)
        errors = reference.errors(compiled)
    name = str(low).removeprefix("torch.")
    return Engine(compiled, "compiled", {"unet": name, "vae": name}, errors, parallel)


def _compile(bundle: Bundle, dtype: torch.dtype) -> Bundle:
    unet: Any = torch.compile(copy.deepcopy(bundle.unet).to(dtype), dynamic=False)
    vae = copy.deepcopy(bundle.vae).to(dtype)
    decode = torch.compile(lambda latents: vae.decode(latents).sample, dynamic=False)
    decoder = Decoder(bundle.vae, lambda latents: decode(latents.to(dtype)).float())
    return replace(bundle, unet=unet, vae=decoder, dtype=dtype)


def denoised(bundle: Bundle, noise: Tensor, condition: Condition, steps: int, predict: Predict | None = None) -> Tensor:
    """Latents of one picture a row of `noise`: a student as distilled, another model without guidance."""
    asked: dict[str, Any] = {"kind": "lcm"} if bundle.lcm else {"guidance": 1.0}
    seeds = range(len(noise))
    return last(sample(bundle, condition, noise=noise, steps=steps, seeds=seeds, predict=predict, **asked))

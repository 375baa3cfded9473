"""What runs the networks: torch as it is, OpenVINO on a CPU, torch.compile on a GPU.

An engine is a bundle whose modules run elsewhere, plus a lock: several requests may interleave, the networks see one
call at a time. How far it may stray is measured, never assumed: one picture is drawn with plain torch and with it.
"""

import copy
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import EnvironmentProblem, KyaraError
from components.image.families.bundle import Bundle, Condition, pick_dtype
from components.image.generation.latent import initial_noise, last, sample

logger = logging.getLogger("kyara")


@dataclass
class Engine:
    """`errors` against plain torch, relative: "latents" (a whole picture's denoising) and "picture" (decoding)."""

    bundle: Bundle
    kind: str
    precision: dict[str, str]
    errors: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def name(self) -> str:
        """For people: kind and the UNet's precision."""
        return f"{self.kind} {self.precision['unet']}"

    def encode(self, prompts: Sequence[str], chunks: int = 1) -> Condition:
        """As Bundle.encode_prompts."""
        with self._lock:
            return self.bundle.encode_prompts(prompts, chunks)

    @torch.no_grad()
    def predict(self, latents: Tensor, t: Tensor, condition: Condition, guidance: Tensor | None = None) -> Tensor:
        """As Bundle.predict."""
        with self._lock:
            return self.bundle.predict(latents, t, condition, guidance)

    def encode_images(self, images: Tensor) -> Tensor:
        """As Bundle.encode_images."""
        with self._lock:
            return self.bundle.encode_images(images)

    def decode(self, latents: Tensor) -> Tensor:
        """As Bundle.decode_latents."""
        with self._lock:
            return self.bundle.decode_latents(latents)


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
        latents = _denoise(bundle, noise, prompt, steps)
        return cls(prompt, steps, noise, latents, bundle.decode_latents(latents))

    def drawn(self, bundle: Bundle) -> Tensor:
        """The latents that another bundle makes of it."""
        return _denoise(bundle, self.noise, self.prompt, self.steps)

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
) -> Engine:
    """The fastest engine of this machine whose error stays in bounds, warm for one picture of `size` (width, height).

    Args:
        kind: auto (OpenVINO on a CPU, compiled on a GPU), eager, openvino or compiled.
        precision: auto (bfloat16 where the machine has it and its error is at most `max_error`), float32 or bfloat16.
        cache_dir: where converted networks are kept, by digest of the weights.
        prompt, steps: of the picture that errors are measured on.

    Raises:
        EnvironmentProblem: the engine that was asked for does not run here.
    """
    side = int(bundle.unet.config.sample_size) * bundle.scale
    size = size or (side, side)
    chosen = ("compiled" if bundle.device.type == "cuda" else "openvino") if kind == "auto" else kind
    if chosen == "eager" or (kind == "auto" and bundle.device.type not in ("cpu", "cuda")):
        name = str(bundle.dtype).removeprefix("torch.")
        return Engine(bundle, "eager", {"unet": name, "vae": "float32"})
    reference = Reference.of(bundle, prompt, steps, size)
    try:
        if chosen == "openvino":
            from components.image.generation.openvino_engine import build_openvino

            return build_openvino(bundle, reference, precision, max_error, cache_dir)
        return _build_compiled(bundle, reference, precision, max_error)
    except KyaraError:
        raise
    except Exception as error:  # a compiler may fail in any way; plain torch always works
        if kind != "auto":
            raise EnvironmentProblem(
                f"engine {chosen!r} does not run here: {error}.", hint="Use engine auto or eager."
            ) from error
        logger.warning("engine %r failed, going on with plain torch: %s", chosen, error)
        return build_engine(bundle, "eager")


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


def _build_compiled(bundle: Bundle, reference: Reference, precision: str, max_error: float) -> Engine:
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
    return Engine(compiled, "compiled", {"unet": name, "vae": name}, errors)


def _compile(bundle: Bundle, dtype: torch.dtype) -> Bundle:
    unet: Any = torch.compile(copy.deepcopy(bundle.unet).to(dtype), dynamic=False)
    vae = copy.deepcopy(bundle.vae).to(dtype)
    decode = torch.compile(lambda latents: vae.decode(latents).sample, dynamic=False)
    decoder = Decoder(bundle.vae, lambda latents: decode(latents.to(dtype)).float())
    return replace(bundle, unet=unet, vae=decoder, dtype=dtype)


def _denoise(bundle: Bundle, noise: Tensor, prompt: str, steps: int) -> Tensor:
    """Latents of one picture: a student as distilled, another model without guidance."""
    condition = bundle.encode_prompts([prompt])
    if bundle.lcm:
        return last(sample(bundle, condition, noise=noise, steps=steps, kind="lcm", seeds=[0]))
    return last(sample(bundle, condition, noise=noise, steps=steps, guidance=1.0, seeds=[0]))

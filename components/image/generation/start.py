"""Where denoising starts, and what it may not change."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Keep:
    """`mask` [1, 1, h, w] in [0, 1]: 1 is drawn, 0 stays `clean` [B, C, h, w], put back after every step.

    That is how a model that was not trained for it inpaints (RePaint, arXiv 2201.09865, without resampling).
    """

    mask: Tensor
    clean: Tensor

    def put(self, drawn: Tensor, known: Tensor) -> Tensor:
        """`drawn` inside the mask, `known` outside, mixed on its edge."""
        return self.mask * drawn + (1 - self.mask) * known

    def to(self, *args: object) -> "Keep":
        """As Tensor.to."""
        return Keep(self.mask.to(*args), self.clean.to(*args))  # type: ignore[call-overload]


@dataclass(frozen=True)
class Start:
    """`clean` latents [B, C, h, w] noised to `strength`, or None: pure noise."""

    clean: Tensor | None = None
    strength: float = 1.0
    keep: Keep | None = None


FROM_NOISE = Start()


def mixed(clean: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """sqrt(a) clean + sqrt(1 - a) noise, the forward process at a level a."""
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

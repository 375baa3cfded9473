"""The forward process of a diffusion model: alphas, and how its prediction, the clean latents and the noise relate.

Notation of DDIM (arXiv 2010.02502): x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps;
v = sqrt(a_t) eps - sqrt(1 - a_t) x_0 (arXiv 2202.00512).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from components.errors import ModelError


@dataclass(frozen=True)
class NoiseSchedule:
    """`alphas`: cumulative products a_t, float32 [T], a_t falling; `prediction`: epsilon, v_prediction or sample."""

    alphas: Tensor
    prediction: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "NoiseSchedule":
        """From a diffusers scheduler config. Raises ModelError for a prediction type that is not supported."""
        from diffusers import DDIMScheduler

        prediction = str(config.get("prediction_type", "epsilon"))
        if prediction not in ("epsilon", "v_prediction", "sample"):
            raise ModelError(
                f"prediction type {prediction!r} is not supported.", hint="Expected epsilon, v_prediction or sample."
            )
        return cls(DDIMScheduler.from_config(dict(config)).alphas_cumprod.float(), prediction)

    def __len__(self) -> int:
        return len(self.alphas)

    def at(self, t: Tensor, like: Tensor) -> Tensor:
        """a_t for timesteps [B], shaped to broadcast with `like` [B, ...]."""
        alphas = self.alphas.to(device=t.device)[t].to(like.dtype)
        return alphas.view(-1, *[1] * (like.ndim - 1))

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Noised latents x_t [B, ...] of clean ones x0 [B, ...], at timesteps t [B]."""
        a = self.at(t, x0)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the model is trained to predict at x_t: noise, v or x0, [B, ...]."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return x0
        a = self.at(t, x0)
        return a.sqrt() * noise - (1 - a).sqrt() * x0

    def x0(self, output: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """Clean latents from the model's output. With epsilon prediction a_t must not be 0."""
        a = self.at(t, xt)
        if self.prediction == "sample":
            return output
        if self.prediction == "epsilon":
            return (xt - (1 - a).sqrt() * output) / a.sqrt()
        return a.sqrt() * xt - (1 - a).sqrt() * output

    def eps(self, output: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """Noise from the model's output. With sample prediction a_t must not be 1."""
        a = self.at(t, xt)
        if self.prediction == "epsilon":
            return output
        if self.prediction == "sample":
            return (xt - a.sqrt() * output) / (1 - a).sqrt()
        return a.sqrt() * output + (1 - a).sqrt() * xt

    def snr(self, t: Tensor) -> Tensor:
        """a_t / (1 - a_t), [B]."""
        a = self.alphas.to(t.device)[t]
        return a / (1 - a)

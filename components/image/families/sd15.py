"""Stable Diffusion 1.5 and the embedded base: one CLIP text encoder, its last hidden state."""

from collections.abc import Sequence

from torch import Tensor

from components.image.families.bundle import Bundle, Condition, Family
from components.image.families.text import encoded


def encode(bundle: Bundle, prompts: Sequence[str], chunks: int) -> Condition:
    """Last hidden state [B, 77 * chunks, D]."""
    tokenizer, encoder = bundle.tokenizers[0], bundle.text_encoders[0]

    def read(ids: Tensor) -> Tensor:
        hidden: Tensor = encoder(ids.to(bundle.device))[0].float()
        return hidden

    return Condition(encoded(tokenizer, prompts, chunks, read))


def added(bundle: Bundle, condition: Condition, latents: Tensor) -> None:
    """SD 1.5 is conditioned on timestep and text alone."""


FAMILY = Family(
    "sd15", encode, added, unet_prefix="lora_unet", modelspec="stable-diffusion-v1/lora", base_version="sd_v1"
)

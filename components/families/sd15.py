"""Stable Diffusion 1.5 and the embedded base: one CLIP text encoder, its last hidden state."""

from collections.abc import Sequence

from torch import Tensor

from components.families.bundle import Bundle, Condition, Family


def encode(bundle: Bundle, prompts: Sequence[str]) -> Condition:
    """Last hidden state [B, 77, D]."""
    tokenizer, encoder = bundle.tokenizers[0], bundle.text_encoders[0]
    tokens = tokenizer(
        list(prompts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    return Condition(encoder(tokens.input_ids.to(bundle.device))[0].float())


def added(bundle: Bundle, condition: Condition, latents: Tensor) -> None:
    """Nothing besides."""


FAMILY = Family(
    "sd15", encode, added, unet_prefix="lora_unet", modelspec="stable-diffusion-v1/lora", base_version="sd_v1"
)

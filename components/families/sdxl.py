"""SDXL: two text encoders side by side, pooled text and size conditioning (arXiv 2307.01952)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from components.families.bundle import Bundle, Condition, Family
from components.families.text import encoded


def encode(bundle: Bundle, prompts: Sequence[str], chunks: int) -> Condition:
    """Penultimate hidden states [B, 77 * chunks, D1 + D2], and the second encoder's pooled text [B, P] of chunk one.

    The empty prompt is all zeros where the model was trained so (`force_zeros_for_empty_prompt`).
    """
    hidden, pooled = [], None
    for tokenizer, encoder in zip(bundle.tokenizers, bundle.text_encoders, strict=True):
        outputs: list[Any] = []

        def read(ids: Tensor, encoder: Any = encoder, outputs: list[Any] = outputs) -> Tensor:
            outputs.append(encoder(ids.to(bundle.device), output_hidden_states=True))
            states: Tensor = outputs[-1].hidden_states[-2].float()
            return states

        hidden.append(encoded(tokenizer, prompts, chunks, read))
        pooled = outputs[0][0].float()[::chunks].clone()
    condition = Condition(torch.cat(hidden, dim=-1), pooled)
    if bundle.zero_empty:
        nothing = torch.tensor([not prompt for prompt in prompts], device=condition.hidden.device)
        condition.hidden[nothing] = 0
        if pooled is not None:
            pooled[nothing] = 0
    return condition


def added(bundle: Bundle, condition: Condition, latents: Tensor) -> dict[str, Tensor]:
    """Pooled text and the size triple: original size, crop corner (0, 0), target size, all as drawn."""
    assert condition.pooled is not None
    height, width = (side * bundle.scale for side in latents.shape[-2:])
    sizes = torch.tensor([height, width, 0, 0, height, width], device=latents.device, dtype=torch.float32)
    return {"text_embeds": condition.pooled, "time_ids": sizes.expand(len(latents), 6)}


FAMILY = Family(
    "sdxl",
    encode,
    added,
    unet_prefix="lora_unet",
    modelspec="stable-diffusion-xl-v1-base/lora",
    base_version="sdxl_base_v1-0",
)

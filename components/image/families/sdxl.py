"""SDXL: two text encoders side by side, pooled text and size conditioning (arXiv 2307.01952)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from components.image.families.bundle import Bundle, Condition, Family
from components.image.families.text import tokenize, weighed


def encode(bundle: Bundle, prompts: Sequence[str], chunks: int) -> Condition:
    """Penultimate hidden states [B, 77 * chunks, D1 + D2], and the second encoder's pooled text [B, P] of chunk one.

    The empty prompt is all zeros where the model was trained so (`force_zeros_for_empty_prompt`).
    """
    hidden, pooled = [], None
    for tokenizer, encoder in zip(bundle.tokenizers, bundle.text_encoders, strict=True):

        def states(ids: Tensor, encoder: Any = encoder) -> Tensor:
            return _penultimate(encoder(ids.to(bundle.device), output_hidden_states=True))

        tokens = tokenize(tokenizer, prompts, chunks)
        output = encoder(tokens.ids.flatten(0, 1).to(bundle.device), output_hidden_states=True)
        hidden.append(weighed(tokenizer, tokens, _penultimate(output), states))
        pooled = output[0].float()[::chunks].clone()
    condition = Condition(torch.cat(hidden, dim=-1), pooled)
    if bundle.zero_empty:
        nothing = torch.tensor([not prompt for prompt in prompts], device=condition.hidden.device)
        condition.hidden[nothing] = 0
        if pooled is not None:
            pooled[nothing] = 0
    return condition


def _penultimate(output: Any) -> Tensor:
    states: Tensor = output.hidden_states[-2].float()
    return states


def added(bundle: Bundle, condition: Condition, latents: Tensor) -> dict[str, Tensor]:
    """Pooled text and the sizes: those of the condition; without them an uncropped picture as large as the latents."""
    assert condition.pooled is not None
    height, width = (side * bundle.scale for side in latents.shape[-2:])
    drawn = torch.tensor([height, width, 0, 0, height, width], device=latents.device, dtype=torch.float32)
    sizes = drawn.expand(len(latents), 6) if condition.sizes is None else condition.sizes
    return {"text_embeds": condition.pooled, "time_ids": sizes}


FAMILY = Family(
    "sdxl",
    encode,
    added,
    unet_prefix="lora_unet",
    modelspec="stable-diffusion-xl-v1-base/lora",
    base_version="sdxl_base_v1-0",
)

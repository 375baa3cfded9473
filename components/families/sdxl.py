"""SDXL: two text encoders side by side, pooled text and size conditioning (arXiv 2307.01952)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from components.families.bundle import Bundle, Condition, Family


def encode(bundle: Bundle, prompts: Sequence[str]) -> Condition:
    """Penultimate hidden states [B, 77, D1 + D2] and the second encoder's projected pooled text [B, P].

    The empty prompt is all zeros where the model was trained so (`force_zeros_for_empty_prompt`).
    """
    hidden, pooled = [], None
    for tokenizer, encoder in zip(bundle.tokenizers, bundle.text_encoders, strict=True):
        tokens = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        output = encoder(tokens.input_ids.to(bundle.device), output_hidden_states=True)
        hidden.append(output.hidden_states[-2].float())
        pooled = output[0].float()
    condition = Condition(torch.cat(hidden, dim=-1), pooled)
    if bundle.zero_empty:
        empty = torch.tensor([not prompt for prompt in prompts], device=condition.hidden.device)
        condition.hidden[empty] = 0
        if pooled is not None:
            pooled[empty] = 0
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

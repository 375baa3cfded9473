"""Cross-attention maps: where in a picture the words of its prompt are read (arXiv 2208.01626, 2210.04885)."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from components.image.families.bundle import Bundle, Condition
from components.image.families.text import tokenize
from components.image.generation.latent import own_guidance
from components.image.generation.start import mixed

LEVELS = (200, 400, 600, 800)
"""Timesteps of 1,000 at which maps are read: below, words share out texture, above there is no picture yet."""


def token_places(bundle: Bundle, prompt: str, words: str) -> list[int]:
    """Where the tokens of `words` stand in the condition of `prompt` in one chunk; empty where they do not.

    Several places where the words stand there more than once.
    """
    tokenizer = bundle.tokenizers[0]
    inside = tokenize(tokenizer, [prompt]).ids[0, 0].tolist()
    wanted = [int(token) for token in tokenizer(words, add_special_tokens=False, verbose=False).input_ids]
    starts = (at for at in range(len(inside)) if wanted and inside[at : at + len(wanted)] == wanted)
    return sorted({place for start in starts for place in range(start, start + len(wanted))})


@torch.no_grad()
def attention_map(bundle: Bundle, clean: Tensor, noise: Tensor, condition: Condition, places: Sequence[int]) -> Tensor:
    """How much each place of a picture attends to some tokens, [1, 1, h, w] from 0 to 1.

    The mean over layers, heads and noise levels of what the picture's noised latents attend to. It runs the bundle's
    own UNet with hooks: nobody else may call it meanwhile (`PlainEngine.using`).

    Args:
        clean, noise: latents [1, C, h, w] of the picture, and standard normal ones.
        condition: of its prompt [1].
        places: of the tokens, one or more.
    """
    found: list[Tensor] = []
    with _recorded(bundle, list(places), clean.shape[-2:], found):
        for level in LEVELS:
            t = level * len(bundle.schedule) // 1000
            noised = mixed(clean, noise, bundle.schedule.alphas[t]).to(bundle.device)
            bundle.predict(noised, torch.full((1,), t, device=bundle.device), condition, own_guidance(bundle, 1))
    total = torch.stack(found).mean(0)
    low, high = total.min(), total.max()
    return ((total - low) / (high - low).clamp_min(1e-8)).cpu()


@contextlib.contextmanager
def _recorded(bundle: Bundle, places: list[int], size: Sequence[int], found: list[Tensor]) -> Iterator[None]:
    """While it lasts every cross-attention leaves its map of `places` [1, 1, h, w] in `found`."""
    ratio = size[0] / size[1]

    def record(attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        text = kwargs["encoder_hidden_states"]
        query = attention.head_to_batch_dim(attention.to_q(args[0]))
        key = attention.head_to_batch_dim(attention.to_k(text))
        shares = attention.get_attention_scores(query, key)[..., places].float().sum(-1).mean(0)  # [h w]
        height = round((len(shares) * ratio) ** 0.5)
        shares = shares.view(1, 1, height, len(shares) // height)
        if height > 1:
            shares = shares / shares.mean().clamp_min(1e-8)  # layers weigh alike
            found.append(functional.interpolate(shares, tuple(size), mode="bilinear", align_corners=False))

    crossed = [part for part in bundle.unet.modules() if getattr(part, "is_cross_attention", False)]
    hooks = [part.register_forward_pre_hook(record, with_kwargs=True) for part in crossed]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

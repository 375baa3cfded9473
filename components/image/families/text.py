"""Prompts to tokens and hidden states: long ones in chunks side by side, and words that weigh more or less.

A CLIP text encoder reads 77 tokens. A longer prompt is read in chunks of 75 with their own start and end marks, and the
hidden states are put one behind the other, as the field's tools do: cross-attention takes any length.

`(words:1.2)` weighs words: their hidden states move away from those of the empty prompt, or towards them below 1; a
factor on the states themselves would change what the layer norm before them has fixed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.image.families.syntax import parts


@dataclass(frozen=True)
class Tokens:
    """Token ids int64 and their weights float32, both [B, chunks, length]."""

    ids: Tensor
    weights: Tensor

    @property
    def plain(self) -> bool:
        """Whether every word weighs 1."""
        return bool((self.weights == 1.0).all())


def count_tokens(tokenizer: Any, prompt: str) -> int:
    """Tokens of a prompt without start and end marks; the marks of weights are none."""
    return sum(len(_ids(tokenizer, text)) for text, _ in parts(prompt))


def chunks_for(count: int, length: int) -> int:
    """Chunks of `length` that `count` tokens need; at least one."""
    return max(math.ceil(count / (length - 2)), 1)


def tokenize(tokenizer: Any, prompts: Sequence[str], chunks: int = 1) -> Tokens:
    """Every prompt in exactly `chunks` chunks: filled up with padding, cut where it is longer."""
    rows = [_row(tokenizer, prompt, chunks) for prompt in prompts]
    ids, weights = ([row[part] for row in rows] for part in (0, 1))
    return Tokens(torch.tensor(ids), torch.tensor(weights))


def encoded(tokenizer: Any, prompts: Sequence[str], chunks: int, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Hidden states [B, chunks * length, D], weighed; `encode` makes [N, length, D] of token ids [N, length]."""
    tokens = tokenize(tokenizer, prompts, chunks)
    return weighed(tokenizer, tokens, encode(tokens.ids.flatten(0, 1)), encode)


def weighed(tokenizer: Any, tokens: Tokens, hidden: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Hidden states [B, chunks * length, D] of the tokens' [B * chunks, length, D], by their weights.

    Args:
        encode: as for `encoded`; asked for the empty prompt where words are weighed.
    """
    count, chunks, length = tokens.ids.shape
    if not tokens.plain:
        nothing = encode(tokenize(tokenizer, [""]).ids[0])
        weights = tokens.weights.flatten(0, 1)[..., None].to(hidden)
        hidden = torch.where(weights == 1.0, hidden, nothing + weights * (hidden - nothing))
    return hidden.reshape(count, chunks * length, -1)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids


def _row(tokenizer: Any, prompt: str, chunks: int) -> tuple[list[list[int]], list[list[float]]]:
    """Ids and weights [chunks][length] of one prompt."""
    length: int = tokenizer.model_max_length
    pairs = [(token, weight) for text, weight in parts(prompt) for token in _ids(tokenizer, text)]
    ids, weights = [], []
    for chunk in range(chunks):
        inside = pairs[chunk * (length - 2) : (chunk + 1) * (length - 2)]
        fill = length - 2 - len(inside)
        words = [token for token, _ in inside]
        ids.append([tokenizer.bos_token_id, *words, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * fill])
        weights.append([1.0, *(weight for _, weight in inside), *[1.0] * (fill + 1)])
    return ids, weights

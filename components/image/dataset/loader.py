"""The dataset stage's cache, as training and distillation read it: latents, captions and their text embeddings."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Generator, Tensor

from components.errors import DataError
from components.image.families.bundle import Condition

MASKS = "masks.safetensors"
PADDING = " "
"""A text without words: it fills up the chunks of prompts that are shorter than others of their batch, as `tokenize`
does. The empty prompt itself may be encoded as zeros (SDXL)."""


def caption_key(caption: str) -> str:
    """Name of a caption's tensors in text.safetensors."""
    return hashlib.sha256(caption.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class CachedDataset:
    """One split. Sample i has latents[i] [C, h, w] (scaled, float32) and captions[i], variants of one caption.

    `masks` [h, w] by id, in [0, 1], where the loss counts; empty: everywhere.
    """

    index: dict[str, Any]
    samples: tuple[dict[str, Any], ...]
    latents: tuple[Tensor, ...]
    text: dict[str, Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, split: Literal["train", "val"]) -> "CachedDataset":
        """Read a dataset stage's output; tensors are mapped, not copied.

        Raises:
            DataError: a file is missing or damaged, or `train` holds no sample (`val` may).
        """
        try:
            index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            latents = load_file(folder / "latents.safetensors")
            text = load_file(folder / "text.safetensors")
            masks = load_file(folder / MASKS) if (folder / MASKS).is_file() else {}
            samples = tuple(sample for sample in index["samples"] if sample["split"] == split)
            found = tuple(latents[sample["id"]] for sample in samples)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise DataError(
                f"dataset cache {str(folder)!r} cannot be read: {error!r}.",
                hint="Delete it and run the dataset stage again.",
            ) from error
        if split == "train" and not samples:
            raise DataError(
                f"dataset {str(folder)!r} holds no picture to train on.", hint="Look into dropped.json for the reasons."
            )
        return cls(index, samples, found, text, masks)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids."""
        return tuple(str(sample["id"]) for sample in self.samples)

    @property
    def captions(self) -> tuple[tuple[str, ...], ...]:
        """Caption variants of each sample."""
        return tuple(tuple(sample["captions"]) for sample in self.samples)

    def sizes(self, indices: Sequence[int]) -> Tensor:
        """What SDXL is told of the pictures, [B, 6]: see `Condition.sizes`."""
        rows = (self.samples[index] for index in indices)
        return torch.tensor([_sizes(row) for row in rows], dtype=torch.float32)

    def weights(self, indices: Sequence[int], outside: float) -> Tensor | None:
        """Weights of places in the loss, [B, 1, h, w]: 1 inside the masks, `outside` around; None without masks."""
        if not self.masks:
            return None
        masks = torch.stack([self.masks[str(self.samples[index]["id"])] for index in indices])
        return (outside + (1 - outside) * masks)[:, None]

    def condition(self, *captions: str) -> Condition:
        """Cached embeddings of captions, [B, T, D] and, for SDXL, [B, P]. The empty caption is cached too.

        T is what the longest of them needs; the others are filled up as `Bundle.encode_prompts` does.
        """
        keys = [caption_key(caption) for caption in captions]
        try:
            length = max(len(self.text[f"{key}.hidden"]) for key in keys)
            hidden = torch.stack([self._filled(caption, length) for caption in captions])
            pooled = [self.text[f"{key}.pooled"] for key in keys] if f"{keys[0]}.pooled" in self.text else None
        except KeyError as error:
            raise DataError(
                f"no cached text embedding for one of {list(captions)}.", hint="Run the dataset stage again."
            ) from error
        return Condition(hidden, None if pooled is None else torch.stack(pooled))

    def _filled(self, caption: str, length: int) -> Tensor:
        hidden = self.text[f"{caption_key(caption)}.hidden"]
        if len(hidden) == length:
            return hidden
        chunk = self.text[f"{caption_key(caption and PADDING)}.hidden"]
        return torch.cat([hidden, chunk.repeat((length - len(hidden)) // len(chunk), 1)])

    def batch(self, indices: Sequence[int], generator: Generator, *, empty_share: float) -> tuple[Tensor, Condition]:
        """Latents [B, C, h, w] and a random caption variant each, some replaced by the empty one.

        Raises:
            RuntimeError: the samples are of different sizes (take them from `batches`).
        """
        variants = torch.rand(len(indices), generator=generator)
        empty = torch.rand(len(indices), generator=generator) < empty_share
        places = variants.tolist()
        captions = ["" if empty[row] else self._variant(index, places[row]) for row, index in enumerate(indices)]
        return torch.stack([self.latents[index] for index in indices]), self.condition(*captions)

    def _variant(self, index: int, place: float) -> str:
        captions: list[str] = self.samples[index]["captions"]
        return captions[min(int(place * len(captions)), len(captions) - 1)]

    def batches(self, epoch: int, batch_size: int, seed: int, *, multiple: int = 1) -> list[list[int]]:
        """Sample numbers of an epoch's batches: every sample once, sizes never mixed, order from (seed, epoch) alone.

        With `multiple` the first batches are repeated until their number is a multiple of it (accumulation groups).
        """
        generator = Generator().manual_seed(seed * 1_000_003 + epoch)
        batches = []
        for members in self._buckets():
            order = [members[place] for place in torch.randperm(len(members), generator=generator).tolist()]
            batches += [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        shuffled = [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]
        return shuffled + list(islice(cycle(shuffled), -len(shuffled) % multiple))

    def _buckets(self) -> list[list[int]]:
        """Sample numbers by latent shape."""
        buckets: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, latents in enumerate(self.latents):
            buckets[tuple(latents.shape)].append(number)
        return [buckets[shape] for shape in sorted(buckets)]


class BatchOrder:
    """Endless batches by number: batch i belongs to epoch i // len(order). Keeps one epoch's order at a time."""

    def __init__(self, dataset: CachedDataset, batch_size: int, seed: int, *, multiple: int = 1) -> None:
        self._dataset, self._batch_size, self._seed, self._multiple = dataset, batch_size, seed, multiple
        self._epoch, self._batches = 0, dataset.batches(0, batch_size, seed, multiple=multiple)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._batches)

    def __getitem__(self, number: int) -> list[int]:
        epoch, place = divmod(number, len(self._batches))
        if epoch != self._epoch:
            self._batches = self._dataset.batches(epoch, self._batch_size, self._seed, multiple=self._multiple)
            self._epoch = epoch
        return self._batches[place]


def _sizes(sample: Mapping[str, Any]) -> list[int]:
    (original_width, original_height), (left, top) = sample["original"], sample["crop"]
    return [original_height, original_width, top, left, sample["height"], sample["width"]]

"""Pictures to latents and captions to text embeddings, each once: what was encoded before comes from the cache."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from components.artifact import replacing
from components.contracts import RunLog
from components.image.dataset.cache import EncodingCache, encoder_digest
from components.image.dataset.loader import MASKS, PADDING, caption_key
from components.image.families.bundle import Bundle
from components.image.families.syntax import MAX_CHUNKS
from components.settings import settings

_PIXELS_A_BATCH = 2**20
_CAPTIONS_A_BATCH = 32


def write_encodings(bundle: Bundle, out: Path, captions: Mapping[str, Sequence[str]], log: RunLog) -> None:
    """Write latents.safetensors and text.safetensors for the pictures `out/images/<id>.png` and their captions.

    Args:
        captions: variants by sample id. The empty caption is added.
    """
    latents = encode_pictures(bundle, {identity: out / "images" / f"{identity}.png" for identity in captions}, log)
    _save(out / "latents.safetensors", latents)
    texts = sorted({"", *(caption for variants in captions.values() for caption in variants)})
    _save(out / "text.safetensors", encode_captions(bundle, texts, log))


def write_masks(bundle: Bundle, out: Path, ids: Sequence[str]) -> None:
    """Write masks.safetensors: `out/masks/<id>.png` at the size of latents, [h, w] in [0, 1]."""
    masks = {}
    for identity in ids:
        with Image.open(out / "masks" / f"{identity}.png") as mask:
            small = mask.resize((mask.width // bundle.scale, mask.height // bundle.scale), Image.Resampling.BOX)
        masks[identity] = torch.from_numpy(np.array(small)).float() / 255
    _save(out / MASKS, masks)


def encode_pictures(bundle: Bundle, paths: Mapping[str, Path], log: RunLog) -> dict[str, Tensor]:
    """Latents [C, h, w] float32 by id. The VAE sees pictures of one size at a time, in batches."""
    cache = EncodingCache(settings().state / "cache" / f"latents-{encoder_digest([bundle.vae])}")
    keys = {identity: _picture_key(path) for identity, path in paths.items()}
    found = {identity: entry["latents"] for identity, key in keys.items() if (entry := cache.get(key)) is not None}
    missing = [identity for identity in paths if identity not in found]
    done = 0
    for batch in _batches({identity: paths[identity] for identity in missing}):
        images = torch.stack([_tensor(paths[identity]) for identity in batch])
        for identity, latents in zip(batch, bundle.encode_images(images).cpu(), strict=True):
            found[identity] = latents
            cache.put(keys[identity], {"latents": latents})
        done += len(batch)
        log.progress(done, len(missing), unit="latent")
    log.message(f"latents: {len(missing)} pictures encoded, {len(paths) - len(missing)} from the cache")
    return found


def encode_captions(bundle: Bundle, texts: Sequence[str], log: RunLog) -> dict[str, Tensor]:
    """`<key>.hidden` [T, D] and, for SDXL, `<key>.pooled` [P] of every text, in the text encoder's own precision.

    T is 77 for each chunk that the text itself needs, up to MAX_CHUNKS; `PADDING` comes with texts of several.
    """
    digest = encoder_digest(bundle.text_encoders, bundle.tokenizers)
    cache = EncodingCache(settings().state / "cache" / f"text-{bundle.family.name}-{digest}")
    chunks = {text: bundle.chunks_for(text) for text in texts}
    if any(count > 1 for count in chunks.values()):
        chunks[PADDING] = 1
    _warn_of_cut(chunks, log)
    found = {text: entry for text in chunks if (entry := cache.get(_text_key(text, chunks[text]))) is not None}
    missing = [text for text in chunks if text not in found]
    done = 0
    for batch in _alike(missing, chunks):
        condition = bundle.encode_prompts(batch).to(bundle.dtype)
        for index, text in enumerate(batch):
            entry = {"hidden": condition.hidden[index].cpu()}
            if condition.pooled is not None:
                entry["pooled"] = condition.pooled[index].cpu()
            found[text] = entry
            cache.put(_text_key(text, chunks[text]), entry)
        done += len(batch)
        log.progress(done, len(missing), unit="caption")
    log.message(f"text: {len(missing)} captions encoded, {len(chunks) - len(missing)} from the cache")
    return {f"{caption_key(text)}.{part}": tensor for text in chunks for part, tensor in found[text].items()}


def _warn_of_cut(chunks: Mapping[str, int], log: RunLog) -> None:
    cut = [text for text, count in chunks.items() if count > MAX_CHUNKS]
    if cut:
        log.warn(
            f"{len(cut)} caption(s) are longer than {MAX_CHUNKS * 75} tokens and are cut, such as {cut[0][:60]!r}…"
        )


def _alike(texts: Sequence[str], chunks: Mapping[str, int]) -> Iterator[list[str]]:
    """Batches of texts with equally many chunks."""
    for count in sorted({chunks[text] for text in texts}):
        yield from _chunks([text for text in texts if chunks[text] == count], _CAPTIONS_A_BATCH)


def _text_key(text: str, chunks: int) -> str:
    """Digest of a text; several chunks are told apart from the one that earlier versions cut to."""
    return hashlib.sha256((text if chunks == 1 else f"{chunks} {text}").encode()).hexdigest()


def _picture_key(path: Path) -> str:
    """Digest of the pixels and their shape: how the PNG was compressed does not matter."""
    with Image.open(path) as image:
        return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def _tensor(path: Path) -> Tensor:
    """A picture as [3, H, W] in [-1, 1]."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def _batches(paths: Mapping[str, Path]) -> Iterator[list[str]]:
    """Ids of equal picture size, at most about a megapixel at once."""
    groups: dict[tuple[int, int], list[str]] = defaultdict(list)
    for identity, path in paths.items():
        with Image.open(path) as image:
            groups[image.size].append(identity)
    for (width, height), identities in groups.items():
        count = max(1, _PIXELS_A_BATCH // (width * height))
        yield from _chunks(identities, count)


def _chunks(items: Sequence[str], count: int) -> Iterable[list[str]]:
    return (list(items[start : start + count]) for start in range(0, len(items), count))


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with replacing(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)

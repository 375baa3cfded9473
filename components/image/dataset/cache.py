"""Encoded pictures and captions, kept between runs under the digest of what was encoded and of what encoded it.

An edited picture has another key, so nothing goes stale; a damaged file is made again.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

_DIGEST_BYTES = 32
KEPT_DAYS = 30.0
"""An encoder's entries that no run has wanted for so long are dropped by the next run."""


class EncodingCache:
    """One small file an entry: sha256 of the payload, then the payload (safetensors)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        self._prune()

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of `key`; None where they are missing or damaged."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return load(payload) if hashlib.sha256(payload).digest() == digest else None

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Keep tensors under `key`. Not flushed: what a power cut damages, the digest finds."""
        payload = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
        with os.fdopen(handle, "wb") as stream:
            stream.write(hashlib.sha256(payload).digest() + payload)
        Path(temporary).replace(path)

    def _prune(self) -> None:
        """Drop the folders of other encoders that were not used lately; they bear this one's first word."""
        kind, _, _ = self.folder.name.partition("-")
        oldest = time.time() - 86400.0 * KEPT_DAYS
        for other in self.folder.parent.glob(f"{kind}-*"):
            if other.is_dir() and other.stat().st_mtime < oldest:
                shutil.rmtree(other, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key


def encoder_digest(modules: Iterable[nn.Module], tokenizers: Iterable[Any] = ()) -> str:
    """sha256 over configuration, weights (in their precision) and vocabulary, 16 hex digits."""
    digest = hashlib.sha256()
    for module in modules:
        digest.update(_settings(module.config).encode())
        for name, weight in sorted(module.state_dict().items()):
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for tokenizer in tokenizers:
        digest.update(json.dumps([sorted(tokenizer.get_vocab().items()), tokenizer.model_max_length]).encode())
    return digest.hexdigest()[:16]


def _settings(config: Any) -> str:
    """A diffusers or transformers configuration without what names its place, its version or its precision."""
    plain = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    elsewhere = ("dtype", "torch_dtype", "transformers_version")
    return json.dumps({key: plain[key] for key in sorted(plain) if key[0] != "_" and key not in elsewhere}, default=str)

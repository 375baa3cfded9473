"""LoRAs in the weights of a converted network: made in the background, the last used kept, swapped by taking another.

A converted network's weights are constants, and compiling it anew takes about a second. Nobody waits for that: until
it is done the request's steps run in plain torch beside the LoRA (`loras.py`), and so they do for good where the error
against plain torch is too large. What is kept is found by the LoRAs' files, their weights and the shapes of a call.
"""

import logging
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from components.image.families.bundle import Condition
from components.image.generation.engine import Engine, denoised, relative_error
from components.image.generation.latent import Predict, initial_noise
from components.image.generation.loras import Loras, PlainEngine

logger = logging.getLogger("kyara")
FLOAT32 = "float32"


class Key(NamedTuple):
    """LoRAs with weights, latents [B, C, h, w] and condition [B, T, D] of a call."""

    loras: Loras
    latents: torch.Size
    hidden: torch.Size


class Fused:
    """Engines with LoRAs in their weights.

    Args:
        engine: whose networks are shared but for the UNet; it can `reweigh`.
        plain: the same model in plain torch, which knows what a LoRA adds.
        prompt, steps: of the picture that errors are measured on.
        max_error: relative, of its latents; a network in float32 is tried before plain torch.
        kept: how many stay in memory; 0: none is made.
    """

    def __init__(
        self, engine: Engine, plain: PlainEngine, *, prompt: str, steps: int, max_error: float, kept: int
    ) -> None:
        self.engine, self.plain, self.kept = engine, plain, kept
        self._prompt, self._steps, self._max_error = prompt, steps, max_error
        self.hits = self.misses = 0
        self._made: OrderedDict[Key, Engine | None] = OrderedDict()
        self._busy = False
        self._changed = threading.Condition()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kyara-fuse")

    def get(self, loras: Loras, latents: Tensor, condition: Condition) -> Engine | None:
        """The engine for a call with LoRAs; None: not yet, or never. One is made at a time, the latest that is asked
        while none is.
        """
        key = Key(loras, latents.shape, condition.hidden.shape)
        with self._changed:
            if key in self._made:
                self.hits += 1
                self._made.move_to_end(key)
                return self._made[key]
            self.misses += 1
            if self._busy or self.kept == 0:
                return None
            self._busy = True
        self._thread.submit(self._make, key)
        return None

    def knows(self, loras: Loras) -> bool:
        """Whether these LoRAs were found to fit."""
        with self._changed:
            return any(key.loras == loras for key in self._made)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is being made; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, seconds)

    def _make(self, key: Key) -> None:
        engine = None
        try:
            engine = self._fused(key)
        except Exception as error:  # plain torch goes on serving it
            logger.warning("LoRAs %s stay in plain torch: %s", _named(key.loras), error)
        with self._changed:
            self._made[key] = engine
            while len(self._made) > self.kept:
                self._made.popitem(last=False)
            self._busy = False
            self._changed.notify_all()

    @torch.no_grad()
    def _fused(self, key: Key) -> Engine:
        """Raises ValueError where no precision is near enough to plain torch."""
        assert self.engine.reweigh is not None
        deltas = self.plain.deltas(key.loras)
        wanted = self._drawn(key, lambda *call: self.plain.predict(*call, loras=key.loras))
        errors = {}
        for precision in dict.fromkeys((self.engine.precision["unet"], FLOAT32)):
            unet = self.engine.reweigh(deltas, precision)
            made = self.engine.sharing(unet, precision, 0.0)
            errors[precision] = made.errors["latents"] = relative_error(self._drawn(key, made.predict), wanted)
            if errors[precision] <= self._max_error:
                return made
        raise ValueError(f"the converted network strays by {errors} (at most {self._max_error:g})")

    def _drawn(self, key: Key, predict: Predict) -> Tensor:
        """Latents of one picture a row of the call's shapes."""
        rows, _, height, width = key.latents
        bundle = self.plain.bundle
        noise = initial_noise(bundle, range(rows), height * bundle.scale, width * bundle.scale)
        chunks = key.hidden[1] // int(bundle.tokenizers[0].model_max_length)
        condition = self.engine.encode([self._prompt], chunks).expand(rows)
        return denoised(bundle, noise, condition, self._steps, predict)


def _named(loras: Loras) -> str:
    return ", ".join(f"{lora.name}:{weight:g}" for lora, weight in loras)

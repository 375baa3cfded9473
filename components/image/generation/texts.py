"""Encoded prompts that were asked for last: many requests of one user differ in their seed alone."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from components.image.families.bundle import Condition

KEPT = 256
"""Conditions; one of SD 1.5 in float32 has 0.2 MiB."""


class TextCache:
    """Conditions by key, the last used ones. One text encoder's: an engine has a cache of its own.

    `hits` and `misses` count what was asked. LoRAs leave text encoders alone (`loras.py`), so they are in no key.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self.kept, self.hits, self.misses = kept, 0, 0
        self._known: OrderedDict[Hashable, Condition] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, encode: Callable[[], Condition]) -> Condition:
        """The condition of a key, encoded where it is not known. Nobody may write into it."""
        with self._lock:
            if key in self._known:
                self.hits += 1
                self._known.move_to_end(key)
                return self._known[key]
            self.misses += 1
        condition = encode()
        with self._lock:
            self._known[key] = condition
            while len(self._known) > self.kept:
                self._known.popitem(last=False)
        return condition

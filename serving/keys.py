"""Who may ask, and how often: the keys of a file (see `components.keys`), compared in constant time.

The file is read again when it changes: put the new key in, move the clients, take the old one out.
"""

import hashlib
import hmac
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from components.errors import EnvironmentProblem
from components.keys import Key, read_keys
from components.settings import Settings
from serving.errors import KeyRefusedError, RateError

logger = logging.getLogger("bentoml.kyara")


@dataclass
class Bucket:
    """A token bucket: `burst` requests at once, then `rate` a second."""

    rate: float
    burst: float
    clock: Callable[[], float] = time.monotonic
    _left: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._at = self.burst, self.clock()

    def take(self) -> None:
        """One request. Raises RateError, which says when the next may come."""
        now = self.clock()
        self._left, self._at = min(self.burst, self._left + (now - self._at) * self.rate), now
        if self._left < 1:
            raise RateError(60 * self.rate, math.ceil((1 - self._left) / self.rate))
        self._left -= 1


class Keys:
    """The keys of a file.

    Args:
        file: must be there and hold a key at the start.
        per_minute: of a key whose line does not say.
        burst: requests that may come at once.
        clock: seconds that only grow.

    Raises:
        EnvironmentProblem: the file cannot be used.
    """

    def __init__(
        self, file: Path, *, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.file = file
        self.per_minute = per_minute
        self.burst = burst
        self.clock = clock
        self._seen = self._look()
        self._keys = read_keys(file, per_minute)
        self._buckets: dict[Key, Bucket] = {}

    def admit(self, secret: str) -> str:
        """The name of a key that may ask now.

        Raises:
            KeyRefusedError: it is none of ours.
            RateError: it asked too often.
        """
        self._refresh()
        digest, found = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest(), None
        for key in self._keys:  # all of them, so that the time tells nothing
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            raise KeyRefusedError("the API key is unknown." if secret else "an API key is needed.")
        rate = found.per_minute / 60
        self._buckets.setdefault(found, Bucket(rate, self.burst, self.clock)).take()
        return found.name

    def _refresh(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = read_keys(self.file, self.per_minute)
        except EnvironmentProblem as error:
            logger.error("the keys stay as they were: %s", error)
            return
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if key in self._keys}
        logger.info("keys read again: %s", ", ".join(key.name for key in self._keys))

    def _look(self) -> object:
        try:
            facts = self.file.stat()
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_size, facts.st_ino


def open_keys(here: Settings) -> Keys | None:
    """The keys of the settings; None where they name no file. Raises EnvironmentProblem."""
    return None if here.keys is None else Keys(here.keys, per_minute=here.key_rate, burst=here.key_burst)

"""The model that is served: found, verified, warmed in the background, and swapped between two requests."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifact import MANIFEST, POINTER, open_sealed, pointed
from components.contracts import Generator
from components.errors import ArtifactError, KyaraError

logger = logging.getLogger("bentoml.kyara")

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0  # seconds


@dataclass(frozen=True)
class Served:
    """A warm model: its generator, its card (what `GET /model` shows), and its folder."""

    generator: Generator
    card: Mapping[str, Any]
    folder: Path

    @property
    def label(self) -> str:
        """name:version, as in X-Kyara-Model."""
        return f"{self.card['name']}:{self.card['version']}"


Load = Callable[[Path], Served]


class Champion:
    """Holds one warm model and replaces it when another is promoted.

    A model that cannot be loaded is tried again, after a pause that doubles: a disk may be slow, memory short for now.

    Args:
        load: folder -> verified, warm model; called in a thread of its own.
        pinned: the model that came with the Bento.
        watched: folder with a `champion` file, looked at again and again; it wins over `pinned`.
        clock: seconds that only grow.
    """

    def __init__(
        self, load: Load, *, pinned: Path | None, watched: Path | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.load = load
        self.pinned = pinned
        self.watched = watched
        self.current: Served | None = None
        self._clock = clock
        self._tried: object = self  # nothing yet
        self._pause = FIRST_PAUSE
        self._again: float | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kyara-loader")

    async def watch(self, swapped: Callable[[Served], None], every: float = 1.0) -> None:
        """Load, then look for another champion every `every` seconds; ends with the first where nothing is watched."""
        loop = asyncio.get_running_loop()
        while True:
            before = self.current
            await loop.run_in_executor(self._thread, self.refresh)
            if self.current is not None and self.current is not before:
                swapped(self.current)
            if self.watched is None and self.current is not None:
                return
            await asyncio.sleep(every)

    def refresh(self) -> None:
        """Take up another champion. One that fails is refused with a log line, and the one before goes on serving."""
        seen = self._look()
        if seen != self._tried:
            self._pause = FIRST_PAUSE
        elif self._again is None or self._clock() < self._again:
            return
        self._tried = seen
        if self._take_up():
            self._again = None
        else:
            self._again = self._clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _take_up(self) -> bool:
        """Serve the best candidate that can be loaded; whether it was the first choice."""
        candidates = self._candidates()
        for choice, folder in enumerate(candidates):
            try:
                if self.current is None or self.current.card["digest"] != open_sealed(folder).digest:
                    self.current = self._warm(folder)
                return choice == 0
            except KyaraError as error:
                logger.error("model %s is refused: %s", folder, error)
            except Exception:
                logger.exception("model %s is refused", folder)
        if self.current is None:
            logger.error("there is no model to serve: neither in the Bento nor in KYARA_MODELS=%s", self.watched)
        return False

    def _warm(self, folder: Path) -> Served:
        began = time.perf_counter()
        served = self.load(folder)
        logger.info("serving %s from %s: warm in %.1f s", served.label, folder, time.perf_counter() - began)
        return served

    def _candidates(self) -> Sequence[Path]:
        """Folders in order of preference; the pinned one only until something is served."""
        found = []
        if self.watched is not None:
            try:
                found.append(pointed(self.watched))
            except ArtifactError as error:
                logger.warning("%s", error)
        if self.pinned is not None and self.current is None:
            found.append(self.pinned)
        return found

    def _look(self) -> object:
        """What changes when another champion is pointed to, or the pointed one is mended."""
        if self.watched is None:
            return self.pinned
        marks: list[object] = []
        with contextlib.suppress(OSError, KyaraError):
            marks.append((self.watched / POINTER).stat().st_mtime_ns)
            folder = pointed(self.watched)
            marks.append((folder, (folder / MANIFEST).stat().st_mtime_ns))
        return marks

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

"""Answers of clients, kept on disk: one folder for all processes and threads of an installation.

Equal requests are asked for once: in a process they wait for one future, across processes for a lease of the store.
"""

import hashlib
import json
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path

from pydantic import ValidationError

from components.prompting.clients.instruction import TEMPLATE_VERSION
from components.prompting.schema import SCHEMA_VERSION, Client, Draft, PromptRequest
from components.prompting.store import StoreStats, TextStore
from components.prompting.vocabulary import Vocabulary
from components.recipe import Frozen


class Answered(Frozen):
    """What is kept of an answer."""

    draft: Draft
    repaired: bool = False


def cache_key(request: PromptRequest, client: Client, vocabulary: Vocabulary) -> str:
    """SHA-256 of everything that the answer depends on; blanks and widths of letters are not among it."""
    said = {name: _normal(value) for name, value in request.model_dump().items()}
    parts = [said, client.name, client.model, TEMPLATE_VERSION, SCHEMA_VERSION, vocabulary.entries]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


class PromptCache:
    """Answers by key; `get_or_make` asks once for equal requests, however many threads and processes want it.

    `lease` (s) bounds how long a holder that neither finishes nor dies is waited for; one that is dead on this machine
    is noticed at once. A damaged entry or database is dropped with a warning, and counts as a miss.
    """

    def __init__(
        self, folder: Path, *, size_limit: int = 64 << 20, max_age: float = 30 * 86400.0, lease: float = 120.0
    ) -> None:
        self.folder = folder
        self._lease = lease
        self._store = TextStore(folder, size_limit=size_limit, max_age=max_age, lease=lease)
        self._lock = threading.Lock()
        self._flights: dict[str, Future[Answered]] = {}

    def get_or_make(self, key: str, make: Callable[[], Answered]) -> tuple[Answered, bool]:
        """The answer, and whether it was there already (or came from another thread's call). Errors of `make` pass."""
        found = self._hit(key)
        if found is not None:
            return found, True
        with self._lock:
            flight = self._flights.get(key)
            first = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        return self._lead(key, flight, make) if first else self._follow(key, flight, make)

    def stats(self) -> StoreStats:
        """Entries, bytes on disk, hits, misses."""
        return self._store.stats()

    def clear(self) -> int:
        """Drop every entry and the counters; answers how many entries there were."""
        return self._store.clear()

    def close(self) -> None:
        """Close this thread's connections; the next call opens them again."""
        self._store.close()

    def _lead(self, key: str, flight: "Future[Answered]", make: Callable[[], Answered]) -> tuple[Answered, bool]:
        try:
            with self._store.leased(key):
                found = self._hit(key)
                answer = found or self._made(key, make)
            flight.set_result(answer)
            return answer, found is not None
        except Exception as error:
            flight.set_exception(error)
            raise
        finally:
            # Ctrl-C stops the leader, not those who wait: they start again.
            if flight.cancel():
                flight.set_running_or_notify_cancel()
            with self._lock:
                self._flights.pop(key, None)

    def _follow(self, key: str, flight: "Future[Answered]", make: Callable[[], Answered]) -> tuple[Answered, bool]:
        wait([flight], timeout=self._lease)
        if not flight.done():
            return self._made(key, make), False
        try:
            answer = flight.result()
        except CancelledError:
            return self.get_or_make(key, make)
        self._store.count("hits")
        return answer, True

    def _made(self, key: str, make: Callable[[], Answered]) -> Answered:
        self._store.count("misses")
        answer = make()
        self._store.write(key, answer.model_dump_json())
        return answer

    def _hit(self, key: str) -> Answered | None:
        text = self._store.read(key)
        if text is None:
            return None
        try:
            answer = Answered.model_validate_json(text)
        except (ValidationError, TypeError):
            self._store.drop(key)
            return None
        self._store.count("hits")
        return answer


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())

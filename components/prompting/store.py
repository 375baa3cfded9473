"""Text on disk by key, for all processes and threads of an installation; diskcache does the work.

    folder/entries   key -> text; the size and age limits are diskcache's
    folder/book      leases that expire, and counters; nothing is evicted here

A store may lose what it holds, but never stands in the way: whatever goes wrong with it is a warning and nothing found.
"""

import contextlib
import logging
import os
import platform
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
from diskcache import Cache, Disk, Timeout
from diskcache.core import MODE_PICKLE

from components.recipe import Frozen

logger = logging.getLogger("kyara")
T = TypeVar("T")

COUNTERS = ("hits", "misses", "damaged")
_POLL = 0.02
_BUSY = 5.0
# What passes by itself; every other complaint of SQLite means that the file is damaged.
_PASSING = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR,
}  # fmt: skip


class StoreStats(Frozen):
    """What `kyara prompts cache show` prints; the counters cover all processes since the last `clear`."""

    entries: int = 0
    bytes: int = 0
    hits: int = 0
    misses: int = 0
    damaged: int = 0


class _TextDisk(Disk):  # type: ignore[misc]
    """Never unpickles: a cache folder that came from elsewhere runs no code."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode == MODE_PICKLE:
            raise OSError("a pickle, which is not read")
        return super().fetch(mode, filename, value, read)


@dataclass(frozen=True)
class _Stores:
    entries: Any
    book: Any


class TextStore:
    """Texts, leases and counters. Every method answers; see the module's docstring for what happens on trouble."""

    def __init__(self, folder: Path, *, size_limit: int, max_age: float, lease: float) -> None:
        self.folder = folder
        self.size_limit = size_limit
        self.max_age = max_age
        self.lease = lease
        self._stores: _Stores | None = None
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def read(self, key: str) -> str | None:
        """The text of a key."""
        text: str | None = self._guarded(lambda stores: stores.entries.get(key), None)
        return text

    def write(self, key: str, text: str) -> None:
        """Keep a text for `max_age` seconds; the oldest go where there are too many bytes."""
        self._guarded(lambda stores: stores.entries.set(key, text, expire=self.max_age), False)

    def drop(self, key: str) -> None:
        """Forget a text that turned out to be damaged."""
        logger.warning("The prompt cache dropped a damaged entry in %s.", self.folder)
        self._guarded(lambda stores: stores.entries.delete(key), False)
        self.count("damaged")

    def count(self, name: str) -> None:
        """One more of a counter."""
        self._guarded(lambda stores: stores.book.incr(f"count/{name}"), 0)

    def stats(self) -> StoreStats:
        """Entries, bytes on disk, counters."""

        def read(stores: _Stores) -> StoreStats:
            stores.entries.expire()
            counters = {name: stores.book.get(f"count/{name}", 0) for name in COUNTERS}
            return StoreStats(entries=len(stores.entries), bytes=stores.entries.volume(), **counters)

        return self._guarded(read, StoreStats())

    def clear(self) -> int:
        """Forget every text and the counters; how many texts there were."""

        def drop(stores: _Stores) -> int:
            for name in COUNTERS:
                stores.book.delete(f"count/{name}")
            return int(stores.entries.clear())

        return self._guarded(drop, 0)

    def close(self) -> None:
        """Close this thread's connections; the next call opens them again."""
        with self._lock:
            stores, self._stores = self._stores, None
        _closed(stores)

    @contextlib.contextmanager
    def leased(self, key: str) -> Iterator[None]:
        """Held by one thread of one process at a time, at most for `lease` seconds: then the holder counts as lost.

        Who waited that long, or has no store that works, goes on without it.
        """
        name, owner = f"lease/{key}", f"{platform.node()}|{os.getpid()}|{uuid.uuid4().hex}"
        held = self._take(name, owner)
        try:
            yield
        finally:
            if held:
                self._free(name, owner)

    def _take(self, name: str, owner: str) -> bool:
        """Wait for the lease, at most as long as one lasts. False: go on without it."""
        end = time.monotonic() + self.lease
        while time.monotonic() < end:
            added = self._guarded(lambda stores: stores.book.add(name, owner, expire=self.lease), None)
            if added is not False:
                return added is True
            holder = self._guarded(lambda stores: stores.book.get(name), None)
            if isinstance(holder, str) and _dead(holder):
                self._free(name, holder)
            else:
                time.sleep(_POLL)
        return False

    def _free(self, name: str, holder: str) -> None:
        self._guarded(lambda stores: _release(stores.book, name, holder), None)

    def _guarded(self, action: Callable[[_Stores], T], default: T) -> T:
        stores = None
        try:
            stores = self._opened()
            return action(stores)
        except (sqlite3.Error, Timeout, OSError, ValueError, TypeError) as error:
            self._recover(stores, error)
            return default

    def _recover(self, stores: _Stores | None, error: Exception) -> None:
        if _is_damage(error):
            logger.warning("The prompt cache in %s is damaged and starts anew.", self.folder)
            self._renew(stores)
            return
        if str(error) not in self._told:
            self._told.add(str(error))
            logger.warning("The prompt cache in %s does not work (%s); going on without it.", self.folder, error)
        # Opened again by the next call: somebody may have removed the folder under us.
        self.close()

    def _opened(self) -> _Stores:
        with self._lock:
            if self._stores is None:
                limits = {"size_limit": self.size_limit, "eviction_policy": "least-recently-stored"}
                self._stores = _Stores(
                    Cache(str(self.folder / "entries"), timeout=_BUSY, disk=_TextDisk, **limits),
                    Cache(str(self.folder / "book"), timeout=_BUSY, disk=_TextDisk, eviction_policy="none"),
                )
            return self._stores

    def _renew(self, broken: _Stores | None) -> None:
        """Put the damaged folder aside and remove it; renamed first, so that no other process writes into the ruin."""
        with self._lock:
            if self._stores is not broken:
                return
            self._stores = None
        _closed(broken)
        aside = self.folder.with_name(f"{self.folder.name}.damaged-{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError):
            self.folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(sqlite3.Error, Timeout, OSError):
            self._opened().book.incr("count/damaged")


def _is_damage(error: Exception) -> bool:
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    return (getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF) not in _PASSING


def _release(book: Any, name: str, owner: str) -> None:
    """Only one's own: a lease that expired may be another's by now."""
    with book.transact():
        if book.get(name) == owner:
            book.delete(name)


def _dead(holder: str) -> bool:
    node, _, process = holder.rpartition("|")[0].rpartition("|")
    return node == platform.node() and process.isdigit() and not psutil.pid_exists(int(process))


def _closed(stores: _Stores | None) -> None:
    if stores is not None:
        with contextlib.suppress(sqlite3.Error):
            stores.entries.close()
            stores.book.close()

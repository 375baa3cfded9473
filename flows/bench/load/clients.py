"""Many clients of one server at once, each with a connection of its own, as they behave in the wild.

A client asks again as soon as it has its answer; told to come back later (429, 503) it waits as long as it is told.
"""

import http.client
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from flows.ports import HOST

BROKEN = 0
"""Stands for a status where there was no answer, or only a part of one."""
PATIENCE = 300.0
"""Seconds that a client waits for an answer."""
JSON = {"Content-Type": "application/json"}

Ask = Callable[[int], Mapping[str, Any]]


@dataclass
class Load:
    """What clients saw. `seconds` are of the answered requests; `window` is from the start to the last answer."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    window: float = 0.0

    def __add__(self, other: "Load") -> "Load":
        return Load(self.statuses + other.statuses, self.seconds + other.seconds, self.window + other.window)

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return len(self.seconds) / self.window if self.window else 0.0

    def told(self, name: str) -> dict[str, Any]:
        """`rps.`, `p50.`, `p95.`, `p99.` and `statuses.` under a name."""
        quantiles = {f"p{part}.{name}": percentile(self.seconds, part) for part in (50, 95, 99)}
        statuses = {str(status): count for status, count in sorted(self.statuses.items())}
        return {f"rps.{name}": self.rate, **quantiles, f"statuses.{name}": statuses}


@dataclass(frozen=True)
class Answer:
    """`status` is BROKEN where none came; `refused`: nobody took the connection."""

    status: int
    content: bytes = b""
    retry_after: float = 0.0
    refused: bool = False


def percentile(values: Sequence[float], part: float) -> float | None:
    """The smallest value that `part` percent are not above; None of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * part / 100) - 1)] if ordered else None


class Client:
    """One connection that is kept."""

    def __init__(self, port: int, timeout: float = PATIENCE) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=timeout)

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Send JSON and read the whole answer."""
        return self._asked("POST", path, json.dumps(body).encode(), JSON)

    def get(self, path: str) -> Answer:
        """Read the whole answer."""
        return self._asked("GET", path, None, {})

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def _asked(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        try:
            self._connection.request(method, path, body, dict(headers))
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Answer(BROKEN, refused=isinstance(error, ConnectionRefusedError))
        return Answer(response.status, content, float(response.headers.get("Retry-After", 0)))


def drive(port: int, ask: Ask, clients: int, seconds: float) -> Load:
    """Load `/generate` for a while; what is under way at the end is waited for.

    Args:
        ask: the body of the request of a number; numbers are given to clients as they come.
    """
    lock, numbers, loads = threading.Lock(), iter(range(10**9)), [Load() for _ in range(clients)]
    began = time.perf_counter()
    until = began + seconds

    def work(load: Load) -> None:
        client = Client(port)
        while (now := time.perf_counter()) < until:
            with lock:
                number = next(numbers)
            answer = client.post("/generate", ask(number))
            load.statuses[answer.status] += 1
            if answer.status == 200:
                load.seconds.append(time.perf_counter() - now)
                load.window = time.perf_counter() - began
            elif answer.retry_after or answer.status == BROKEN:
                client.close()  # a server ends connections that idle, and a pool of clients drops them
                time.sleep(max(0.0, min(answer.retry_after or 1.0, until - time.perf_counter())))
        client.close()

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, loads))
    window = max([load.window for load in loads], default=0.0)
    for load in loads:
        load.window = 0.0
    return sum(loads, Load(window=window))


class Probe:
    """Asks `/livez` again and again while the block runs."""

    def __init__(self, port: int, every: float = 0.05) -> None:
        self._client, self._every = Client(port, timeout=10), every
        self.seconds: list[float] = []
        self.failed = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _work(self) -> None:
        while not self._stop.wait(self._every):
            began = time.perf_counter()
            answer = self._client.get("/livez")
            self.seconds.append(time.perf_counter() - began)
            self.failed += answer.status != 200

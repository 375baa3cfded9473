"""SIGTERM under load: is every request that was accepted answered?"""

import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from flows.bench.load.clients import BROKEN, Ask, Client
from flows.server import Server

CLIENTS = 4


@dataclass
class Drained:
    """Of all rounds: answers by status, what was `lost` (sent before the signal and not answered, or cut) and what was
    `late` (sent after it to a server that took no connection any more).
    """

    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    late: int = 0
    rounds: int = 0

    def told(self) -> dict[str, Any]:
        """Metrics under `drain.`."""
        statuses = {str(status): count for status, count in sorted(self.statuses.items())}
        return {
            "drain.lost": self.lost,
            "drain.rounds": self.rounds,
            "drain.late": self.late,
            "drain.statuses": statuses,
        }


def end_under_load(server: Server, ask: Ask, after: float, drained: Drained) -> None:
    """Load a warm server, end it by SIGTERM `after` seconds as a supervisor would, and count until it is gone."""
    assert server.process is not None
    process, signalled, lock = server.process, threading.Event(), threading.Lock()

    def work(first: int) -> None:
        for number in range(first, 10**9, CLIENTS):
            before = not signalled.is_set()
            client = Client(server.port)  # a connection each: a kept one may be closed between two requests
            answer = client.post("/generate", ask(number))
            client.close()
            with lock:
                if answer.status != BROKEN:
                    drained.statuses[answer.status] += 1
                elif before and not answer.refused:
                    drained.lost += 1
                else:
                    drained.late += 1
            if answer.status == BROKEN and not before:
                return
            time.sleep(0.0 if answer.status == 200 else 0.1)

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(work, first) for first in range(CLIENTS)]
        time.sleep(after)
        # set first: what is sent in between counts as sent after it
        signalled.set()
        process.send_signal(signal.SIGTERM)
        for each in asking:
            each.result()
    process.wait()
    drained.rounds += 1

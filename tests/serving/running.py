"""A Bento of a tiny model behind a port, and what a test asks it."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from components.artifact import point
from components.settings import settings
from flows.package import build
from flows.processes import Process
from flows.server import Server
from tests.promoted import home, tiny_recipe, tiny_version

SLOW = {"prompt": "red hair", "steps": 50, "width": 64, "height": 64, "seed": 0}
QUICK = {"prompt": "red hair", "steps": 1, "seed": 0}


@dataclass
class Running:
    """One service."""

    url: str
    log: Path
    process: Process

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, trust_env=False, **{"timeout": 60, **options})

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", trust_env=False, **{"timeout": 60, **options})

    def put(self, path: str, **options: Any) -> httpx.Response:
        return httpx.put(f"{self.url}{path}", trust_env=False, **{"timeout": 60, **options})

    def metric(self, name: str) -> float:
        """The value of `name{labels}`; 0 where it is not there yet."""
        lines = self.get("/metrics").text.splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def lines(self) -> list[dict[str, Any]]:
        """The structured part of the log."""
        text = self.log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def supervisor(self) -> psutil.Process:
        """BentoML's, which gets the signal in a container."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        named = [each for each in [psutil.Process(self.process.pid), *family] if "serve" in each.cmdline()]
        return named[-1]


@contextmanager
def running(folder: Path, tag: str, **variables: str) -> Iterator[Running]:
    """A ready service of a Bento in the home `folder`, following its models; `variables` without KYARA_."""
    with home(folder):
        os.environ.update({f"KYARA_{name.upper()}": value for name, value in variables.items()})
        with Server(tag, models=settings().models_dir) as server:
            server.wait_ready()
            assert server.process is not None
            yield Running(server.url, server.log, server.process)


def tiny_bento(folder: Path) -> str:
    """The tag of a Bento of a tiny champion, in the home `folder`. It draws with the eager engine."""
    with home(folder):
        version = tiny_version(settings().models_dir, "1")
        point(version.parent, "1")
        return build(tiny_recipe(engine="eager", max_concurrency=8), version, {})


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)

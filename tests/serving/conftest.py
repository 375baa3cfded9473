"""One service with a tiny model for all that neither ends nor changes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.running import Running, running, tiny_bento


@pytest.fixture(scope="session")
def bento(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home, and the tag of the Bento in it."""
    folder = tmp_path_factory.mktemp("serving")
    return folder, tiny_bento(folder)


@pytest.fixture(scope="session")
def shared(bento: tuple[Path, str]) -> Iterator[Running]:
    """A service without keys."""
    limits = {"body_seconds": "2", "tasks_kept": "6", "request_cost": "20000", "drain_seconds": "0"}
    with running(*bento, **limits) as service:
        yield service

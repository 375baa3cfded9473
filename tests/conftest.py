"""What every test gets: a home of its own session, quiet tools, and on request a Prefect server."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.storage import Postgres

# Before anything imports prefect or mlflow: they read the environment once.
_HOME = tempfile.TemporaryDirectory(prefix="kyara-tests-")
os.environ["KYARA_HOME"] = _HOME.name
os.environ.setdefault("PREFECT_LOCAL_STORAGE_PATH", str(Path(_HOME.name) / "prefect-results"))
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ["PREFECT_PROFILES_PATH"] = str(Path(_HOME.name) / "profiles.toml")  # not those of whoever runs the tests

from components.settings import quiet_environment, settings  # noqa: E402

quiet_environment()
# Prefect warns of a home that it cannot make.
Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def pytest_configure(config: pytest.Config) -> None:
    """Warnings of other people's code that nobody here can mend."""
    known = (
        "The ``noload`` loader strategy is deprecated",  # mlflow 3.17 on SQLAlchemy 2.1
        "__array__ implementation doesn't accept a copy keyword",  # diffusers' schedulers on numpy 2
    )
    for message in known:
        config.addinivalue_line("filterwarnings", f"ignore:{message}")


@pytest.fixture(scope="session")
def session_home() -> Path:
    """KYARA_HOME of the whole session."""
    return Path(_HOME.name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A KYARA_HOME for one test."""
    monkeypatch.setenv("KYARA_HOME", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    """A test that sets KYARA_* through monkeypatch leaves no settings behind."""
    yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One Prefect server for the session (15 s to start)."""
    import warnings

    from prefect.testing.utilities import prefect_test_harness

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with prefect_test_harness(server_startup_timeout=400):
            yield


@pytest.fixture(scope="session")
def postgres_server() -> "Iterator[Postgres]":
    """One PostgreSQL server for the session; tests make databases of their own. Skips where it is not installed."""
    from tests.storage import postgres

    with postgres() as server:
        yield server

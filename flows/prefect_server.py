"""Prefect's API and pages as a child process on loopback, closed to other web pages."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.origins import TrustedOriginMiddleware
from components.settings import REPOSITORY, quiet_environment, settings
from flows.ports import HOST, free_port
from flows.processes import Process, answers, child, wait_until

PROBES = ("/api/health", "/api/ready")


def application() -> Any:
    """Prefect's ASGI application behind a check of Host and Origin, which it has not: its CORS only hides answers.

    Also what a container runs: `uvicorn --factory flows.prefect_server:application`, on PostgreSQL where
    PREFECT_API_DATABASE_CONNECTION_URL names it. Probes come by a machine's address, so `/api/health` answers any name.
    """
    _make_home()
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_SERVER_API_PORT
    from starlette.responses import PlainTextResponse

    return TrustedOriginMiddleware(
        create_app(final=True),
        lambda error: PlainTextResponse(str(error), status_code=403),
        hosts=settings().allowed_hosts,
        origins=_origins(PREFECT_SERVER_API_PORT.value()),
        any_host=PROBES,
    )


def _origins(port: int) -> list[str]:
    """Whose pages may ask: its own call the API by address, also where they were opened by name."""
    return [f"http://{HOST}:{port}", f"http://localhost:{port}", *settings().allowed_origins]


@contextlib.contextmanager
def serving_prefect(port: int, log: Path) -> Iterator[Process]:
    """Prefect behind `port` while the block runs, on SQLite unless PREFECT_API_DATABASE_CONNECTION_URL says otherwise.

    As `prefect server start` does it, but with our application, and with all services: without them start-up would take
    1.5 s less, and every task run would be lost, which a service records.
    """
    _make_home()
    command = ["uvicorn", "--factory", "flows.prefect_server:application", "--app-dir", str(REPOSITORY)]
    address = ["--host", HOST, "--port", str(port), "--log-level", "warning"]
    environment = {
        "PREFECT_SERVER_API_HOST": HOST,
        # The pages call the address that the settings name.
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(_origins(port)),
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
    }
    with child([*command, *address], log=log, environment={**os.environ, **environment}) as process:
        yield process


@contextlib.contextmanager
def prefect_api() -> Iterator[str]:
    """A Prefect API for the block; yields its address.

    In this order: what the user configured (PREFECT_API_URL, the active profile, the test harness), the server of
    `kyara ui`, or a private server on a free port over the same SQLite file. Measured on two cores: such a child is
    ready in 8 s (10 s with a cold database) and a flow then costs 1.6 s, while Prefect's ephemeral mode takes 9 s (23 s
    cold) inside the first flow call. And a child starts while this process imports Prefect and MLflow.
    """
    from components.tracking import connect

    _make_home()
    address = configured_api()
    with contextlib.ExitStack() as stack:
        if address is None:
            port, log = free_port(), settings().logs / "prefect.log"
            address = f"http://{HOST}:{port}/api"
            process = stack.enter_context(serving_prefect(port, log))
            connect()
            wait_until(f"{address}/health", process, log)
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: address}):
            try:
                yield address
            finally:
                _drain()


def configured_api() -> str | None:
    """The address of a Prefect API that is there already: the environment's, the active profile's, or `kyara ui`'s."""
    if "prefect" in sys.modules or _profile_names_api():
        from prefect.settings import PREFECT_API_URL

        if PREFECT_API_URL.value():
            return str(PREFECT_API_URL.value())
    ours = f"http://{HOST}:{settings().prefect_port}/api"
    return os.environ.get("PREFECT_API_URL") or (ours if answers(f"{ours}/health") else None)


def _profile_names_api() -> bool:
    """Whether it is worth importing Prefect (2 s) to ask its profiles."""
    quiet_environment()
    file = Path(os.environ.get("PREFECT_PROFILES_PATH") or Path(os.environ["PREFECT_HOME"]) / "profiles.toml")
    try:
        return "PREFECT_API_URL" in file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _drain() -> None:
    """Send what Prefect's threads still hold; they would try for a minute to reach a server that has been stopped."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=5)


def _make_home() -> None:
    """Prefect warns of a home that it cannot make, and it makes no parents."""
    quiet_environment()
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)

"""`kyara studio`: the page for people who make pictures on loopback, and the service beside it where none answers."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from components.errors import EnvironmentProblem
from components.settings import REPOSITORY, settings
from flows.package import champion_bento
from flows.ports import HOST, require_port
from flows.processes import Process, answers, child, log_tail, terminable, wait_until
from flows.server import Server

MODULE = "serving.studio"
READY_SECONDS = 120.0


@contextlib.contextmanager
def studio(port: int, service: str, log: Path) -> Iterator[Process]:
    """The page as a child process that asks `service`; leaving the block stops it."""
    require_port(port, "--port or KYARA_STUDIO_PORT")
    here = settings()
    variables = {**os.environ, "KYARA_HOME": str(here.base_dir), "KYARA_STUDIO_SERVICE": service}
    arguments = [MODULE, "--port", str(port), "--address", HOST]
    log.unlink(missing_ok=True)
    with child(arguments, log=log, environment=variables, folder=REPOSITORY) as process:
        wait_until(f"http://{HOST}:{port}/_stcore/health", process, log, READY_SECONDS)
        yield process


def pages(port: int | None = None) -> Iterator[str]:
    """Serve the studio until the iterator is closed.

    Yields:
        a line for the service that it asks, then its own address.

    Raises:
        EnvironmentProblem: the port is in use, or a server ended.
        KyaraError: no service answers and there is no champion to serve.
    """
    here = settings()
    port = port or here.studio_port
    with contextlib.ExitStack() as stack:
        stack.enter_context(terminable())
        servers: dict[Path, Process] = {}
        if here.studio_service is None and not answers(f"{here.service_url}/livez"):
            server = stack.enter_context(Server(champion_bento(), port=here.serve_port, models=here.models))
            assert server.process is not None
            # Its model may still be loading: the page says so, and goes on by itself.
            wait_until(f"{server.url}/livez", server.process, server.log, READY_SECONDS)
            servers[server.log] = server.process
        yield f"service  {here.service_url}"
        log = here.logs / f"studio_{port}.log"
        servers[log] = stack.enter_context(studio(port, here.service_url, log))
        yield f"studio   http://{HOST}:{port}"
        while (ended := next((log for log, server in servers.items() if server.poll() is not None), None)) is None:
            time.sleep(0.5)
        raise EnvironmentProblem(f"a server ended by itself.{log_tail(ended)}", hint=f"Its log: {ended}")

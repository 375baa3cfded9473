"""The Prefect server and the MLflow pages as child processes on loopback."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import psutil

from components.errors import EnvironmentProblem
from components.settings import quiet_environment, settings
from flows.ports import HOST, free_port, refusal

READY_SECONDS = 300.0
# Runs a module as `python -m` does, and ends it when the pipe on stdin closes: a parent that is killed closes it too.
_LEASH = """
import os, runpy, signal, sys, threading
def follow():
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=follow, daemon=True).start()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@contextlib.contextmanager
def child(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `python -m ARGUMENTS` while the block runs, output into `log`; at the end its process tree is stopped."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", _LEASH, *arguments],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            # Its own session: Ctrl-C reaches this process alone, which then stops the child in order.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process.pid)
        process.communicate()


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM as Ctrl-C, so that children are stopped. In a flow Prefect hands the signal on to this handler."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop(pid: int, patience: float = 10.0) -> None:
    """Terminate a process and its children, then kill what is left."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(family, timeout=patience)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def require_port(port: int, setting: str) -> None:
    """Raise EnvironmentProblem naming the port, and the process where it is known, if something listens there."""
    if refusal(port):
        hint = f"Stop it, or set {setting} to another port."
        raise EnvironmentProblem(f"port {port} is in use{port_owner(port)}.", hint=hint)


def port_owner(port: int) -> str:
    """` by NAME (process PID)` where the system tells, else nothing."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if (
                connection.laddr
                and connection.laddr.port == port
                and connection.status == psutil.CONN_LISTEN
                and connection.pid
            ):
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def answers(url: str, timeout: float = 1.0) -> bool:
    """Whether an address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def wait_until(url: str, process: "subprocess.Popen[bytes]", log: Path, seconds: float = READY_SECONDS) -> None:
    """Wait for a child's address. Raises EnvironmentProblem when it ends or stays silent."""
    limit = time.monotonic() + seconds
    while not answers(url):
        if process.poll() is not None or time.monotonic() > limit:
            state = "ended" if process.poll() is not None else f"did not answer within {seconds:.0f} s"
            raise EnvironmentProblem(f"the server behind {url!r} {state}.", hint=f"Its log: {log}")
        time.sleep(0.1)


def prefect_command(port: int) -> tuple[list[str], dict[str, str]]:
    """Arguments of `python -m` and environment of a Prefect server on SQLite.

    With all services: `--no-services` would save 1.5 s of start-up and lose every task run, which a service records.
    """
    _make_home()
    command = ["prefect", "server", "start", "--host", HOST, "--port", str(port)]
    # The port also as a setting: the pages call the address that the settings name.
    return command, {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_SERVER_API_HOST": HOST}


def pages() -> Iterator[str]:
    """Serve the Prefect and MLflow pages until the iterator is closed; yields their addresses as they become ready."""
    from components.tracking import connect, serve_arguments

    here = settings()
    require_port(here.prefect_port, "KYARA_PREFECT_PORT")
    require_port(here.mlflow_port, "KYARA_MLFLOW_PORT")
    with contextlib.ExitStack() as stack:
        command, environment = prefect_command(here.prefect_port)
        prefect_log, mlflow_log = here.logs / "prefect.log", here.logs / "mlflow.log"
        prefect = stack.enter_context(child(command, prefect_log, environment))
        connect()
        mlflow = stack.enter_context(child(serve_arguments(here.mlflow_port), mlflow_log))
        wait_until(f"http://{HOST}:{here.prefect_port}/api/health", prefect, prefect_log)
        yield f"http://{HOST}:{here.prefect_port}"
        wait_until(f"http://{HOST}:{here.mlflow_port}/health", mlflow, mlflow_log)
        yield f"http://{HOST}:{here.mlflow_port}"
        while prefect.poll() is None and mlflow.poll() is None:
            time.sleep(0.5)
        raise EnvironmentProblem(
            "a server ended by itself.", hint=f"Its log: {prefect_log if prefect.poll() is not None else mlflow_log}"
        )


@contextlib.contextmanager
def prefect_api() -> Iterator[str]:
    """A Prefect API for the block; yields its address.

    In this order: what the user configured (PREFECT_API_URL, a profile, the test harness), the server of `kyara ui`, or
    a private server on a free port over the same SQLite file. Measured on two cores: such a child is ready in 8 s (10 s
    with a cold database) and a flow then costs 1.6 s, while Prefect's ephemeral mode takes 9 s (23 s cold) inside the
    first flow call. And a child starts while this process imports Prefect and MLflow.
    """
    from components.tracking import connect

    _make_home()
    address = configured_api()
    with contextlib.ExitStack() as stack:
        if address is None:
            port, log = free_port(), settings().logs / "prefect.log"
            address = f"http://{HOST}:{port}/api"
            command, environment = prefect_command(port)
            process = stack.enter_context(child(command, log, environment))
            connect()
            wait_until(f"{address}/health", process, log)
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: address}):
            try:
                yield address
            finally:
                _drain()


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


def configured_api() -> str | None:
    """The address of a Prefect API that is there already."""
    if "prefect" in sys.modules:
        from prefect.settings import PREFECT_API_URL

        if PREFECT_API_URL.value():
            return str(PREFECT_API_URL.value())
    ours = f"http://{HOST}:{settings().prefect_port}/api"
    return os.environ.get("PREFECT_API_URL") or (ours if answers(f"{ours}/health") else None)

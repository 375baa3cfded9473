"""Child processes that end with us: started, waited for and stopped in this one place."""

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
from typing import Any

import psutil

from components.errors import EnvironmentProblem

WATCHDOG = Path(__file__).with_name("watchdog.py")
Process = subprocess.Popen[bytes]

# Loopback is never asked through a proxy of the environment.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextlib.contextmanager
def child(
    arguments: Sequence[str],
    *,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    patience: float = 10.0,
) -> Iterator[Process]:
    """Run `python -m ARGUMENTS` while the block runs; at the end its whole process tree is stopped.

    The child ends when we are killed, too. A second Ctrl-C while it is being stopped kills it.

    Args:
        log: file that its output is appended to; default: our own output.
        environment: default: ours.
        folder: where it runs; default: here.
        patience: seconds from the request to end to the kill.
    """
    with contextlib.ExitStack() as stack:
        output = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = stack.enter_context(log.open("ab"))
        process = subprocess.Popen(
            [sys.executable, str(WATCHDOG), *arguments],
            env=None if environment is None else dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            **_own_group(),
        )
    try:
        yield process
    finally:
        try:
            stop(process.pid, patience)
        except KeyboardInterrupt:
            stop(process.pid, 0)
            raise
        finally:
            process.communicate()


def _own_group() -> dict[str, Any]:
    """Ctrl-C reaches us alone, and we stop the child in order."""
    if os.name == "nt":
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"start_new_session": True}


def stop(pid: int, patience: float = 10.0) -> None:
    """Terminate a process of `child` and its children, and kill after `patience` seconds what is left of them."""
    family = _family(pid)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(family, timeout=patience)
    # Also what was started meanwhile, by a supervisor that had not heard yet.
    for process in {*family, *_family(pid)}:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if os.name != "nt":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


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


def answers(url: str, timeout: float = 1.0) -> bool:
    """Whether an address answers 200."""
    try:
        with _direct.open(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def wait_until(url: str, process: Process, log: Path, seconds: float = 300.0) -> float:
    """Wait for a child's address; the seconds that it took.

    Raises:
        EnvironmentProblem: the child ended or stayed silent; with the end of its log.
    """
    began = time.monotonic()
    while not answers(url, timeout=5):
        if process.poll() is not None or time.monotonic() - began > seconds:
            ended = process.poll() is not None
            state = f"ended with code {process.returncode}" if ended else f"was not ready within {seconds:.0f} s"
            raise EnvironmentProblem(f"the server behind {url!r} {state}.{log_tail(log)}", hint=f"Its log: {log}")
        time.sleep(0.1)
    return time.monotonic() - began


def log_tail(log: Path, lines: int = 20) -> str:
    """The end of a log as lines below a sentence; nothing where there is no log."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "".join(f"\n{line}" for line in text.splitlines()[-lines:]) + "\n"

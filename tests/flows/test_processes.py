"""Children end with their parent, however it ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from components.errors import EnvironmentProblem
from components.settings import REPOSITORY
from flows.ports import free_port
from flows.processes import answers, child, stop, terminable, wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

# A server that starts a child of its own, as BentoML and MLflow do, and writes who they are.
FAMILY = """
import pathlib, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("pids").write_text(f"{__import__('os').getpid()} {grandchild.pid}")
time.sleep(600)
"""
# Our side of it: a program that holds such a child until it is told to end.
PARENT = """
import pathlib
from flows.processes import child, terminable
with terminable(), child(["family"], folder=pathlib.Path(%r)) as process:
    process.wait()
"""
STUBBORN = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, lambda *_: None)
pathlib.Path("pids").write_text(str(os.getpid()))
time.sleep(600)
"""


def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"waited in vain: {what}")


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def started(folder: Path) -> list[int]:
    """Process ids that the child has written."""
    file = folder / "pids"
    until(lambda: file.is_file() and bool(file.read_text()), "the child's start")
    return [int(number) for number in file.read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_children_and_theirs_end_with_a_parent_that_is_signalled(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "family.py").write_text(FAMILY)
    program = [sys.executable, "-c", PARENT % str(tmp_path)]
    # A shell starts background jobs with SIGINT ignored; the suite may run as one.
    with subprocess.Popen(
        program,
        cwd=REPOSITORY,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as parent:
        server, grandchild = started(tmp_path)
        parent.send_signal(number)
        parent.wait()
    until(lambda: gone(server), "the child's end")
    if number != signal.SIGKILL:
        assert gone(grandchild)
    elif not gone(grandchild):  # nobody was left to stop it: the child itself would, and this one knows nothing of it
        os.kill(grandchild, signal.SIGKILL)


def test_a_child_ends_with_its_block_also_by_an_error(tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text(FAMILY)
    with pytest.raises(ZeroDivisionError), child(["family"], folder=tmp_path):
        pids = started(tmp_path)
        raise ZeroDivisionError
    assert all(map(gone, pids))


def test_a_child_that_will_not_end_is_killed(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    with child(["stubborn"], folder=tmp_path, patience=0.2):
        pids = started(tmp_path)
    assert all(map(gone, pids))


def test_a_second_interrupt_kills_at_once(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    with pytest.raises(KeyboardInterrupt), terminable(), child(["stubborn"], folder=tmp_path, patience=600):
        pids = started(tmp_path)
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert all(map(gone, pids))


def test_output_goes_into_the_log_and_its_end_into_the_error(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("print('the reason')\nraise SystemExit(3)")
    log = tmp_path / "logs" / "broken.log"
    with (
        child(["broken"], folder=tmp_path, log=log) as process,
        pytest.raises(EnvironmentProblem, match=r"(?s)ended with code 3.*the reason"),
    ):
        wait_until(f"http://127.0.0.1:{free_port()}", process, log)


def test_a_silent_child_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "silent.py").write_text("import time; time.sleep(600)")
    log = tmp_path / "silent.log"
    with child(["silent"], folder=tmp_path, log=log) as process, pytest.raises(EnvironmentProblem, match="not ready"):
        wait_until(f"http://127.0.0.1:{free_port()}", process, log, seconds=0.3)


def test_a_child_runs_as_python_m_does(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text("import sys, os\nprint(sys.argv[1:], sys.path[0] == os.getcwd(), __name__)")
    log = tmp_path / "shown.log"
    with child(["shown", "--flag", "1"], folder=tmp_path, log=log) as process:
        assert process.wait() == 0
    assert log.read_text() == "['--flag', '1'] True __main__\n"


def test_loopback_is_asked_without_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    port = free_port()
    with child(["http.server", str(port), "--bind", "127.0.0.1"], folder=tmp_path, log=tmp_path / "log") as process:
        assert wait_until(f"http://127.0.0.1:{port}/", process, tmp_path / "log") > 0
        assert not answers(f"http://127.0.0.1:{port}/nothing")


def test_stopping_what_is_gone_does_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], start_new_session=True) as process:
        process.wait()
    stop(process.pid)

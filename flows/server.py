"""A Bento behind a port: as a child process for one question, or in the foreground for `kyara serve`."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from components.errors import EnvironmentProblem, KyaraError
from components.settings import settings
from flows.package import bento_folder, bento_labels, champion_bento, store
from flows.ports import free_port, refusal

READY_SECONDS = 180.0
STOP_SECONDS = 15.0


class Smoke(NamedTuple):
    """A picture that a Bento drew over HTTP, its headers, and how long it took to be ready, to draw, and to stop."""

    png: bytes
    headers: dict[str, str]
    ready_seconds: float
    picture_seconds: float


class Server:
    """`bentoml serve TAG` on loopback, in a process group of its own. A context manager: leaving it stops all of it.

    Args:
        tag: a Bento in the store.
        port: default: a free one.
        models: folder whose champion is followed; default: the Bento's own model.
    """

    def __init__(self, tag: str, *, port: int | None = None, models: Path | None = None) -> None:
        bento_labels(tag)
        self.tag = tag
        self.port = free_port() if port is None else port
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = settings().logs / f"serve_{tag.replace(':', '_')}_{self.port}.log"
        self._models = {} if models is None else {"KYARA_MODELS": str(models)}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Server":
        self.log.parent.mkdir(parents=True, exist_ok=True)
        group: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                command(self.tag, self.port),
                env={**environment(self.port, without=("KYARA_MODELS",)), **self._models},
                stdout=stream,
                stderr=subprocess.STDOUT,
                **group,
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        for stop in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
            if self.process.poll() is None:
                _signal_group(self.process, stop)
            try:
                self.process.wait(STOP_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        _signal_group(self.process, getattr(signal, "SIGKILL", signal.SIGTERM))
        shutil.rmtree(_home(self.port), ignore_errors=True)

    def wait_ready(self, timeout: float = READY_SECONDS) -> float:
        """Seconds until /readyz answered 200. Raises KyaraError, with the end of the log, when it never does."""
        assert self.process is not None
        began = time.perf_counter()
        while time.perf_counter() - began < timeout:
            if self.process.poll() is not None:
                raise self._failure(f"the server of {self.tag!r} ended with code {self.process.returncode}")
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200:
                    return time.perf_counter() - began
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise self._failure(f"the server of {self.tag!r} was not ready within {timeout:.0f} s")

    def generate(self, request: Mapping[str, Any], timeout: float = 600) -> httpx.Response:
        """Ask for a picture. Raises KyaraError for any answer but 200."""
        try:
            response = httpx.post(f"{self.url}/generate", json=dict(request), timeout=timeout, trust_env=False)
        except httpx.HTTPError as error:
            raise self._failure(f"the server of {self.tag!r} did not answer: {error!r}") from error
        if response.status_code != 200:
            raise self._failure(f"the server of {self.tag!r} answered {response.status_code}: {response.text[:500]}")
        return response

    def _failure(self, message: str) -> KyaraError:
        tail = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        return EnvironmentProblem(
            f"{message}. End of {str(self.log)!r}:\n{tail}\n", hint="`kyara doctor` may know more."
        )


def smoke(tag: str, request: Mapping[str, Any]) -> Smoke:
    """Serve a Bento once, ask it for a picture, stop it. Raises KyaraError with the end of its log."""
    with Server(tag) as server:
        ready = server.wait_ready()
        began = time.perf_counter()
        response = server.generate(request)
        return Smoke(response.content, dict(response.headers), ready, time.perf_counter() - began)


def serve(tag: str | None = None, port: int | None = None) -> int:
    """Serve a Bento (default: the champion's) in the foreground until it is interrupted; its exit code.

    Raises:
        EnvironmentProblem: the port is in use.
        KyaraError: there is no such Bento.
    """
    tag = tag or champion_bento()
    bento_labels(tag)
    port = port or settings().serve_port
    check_port(port)
    process = subprocess.Popen(command(tag, port), env=environment(port))
    try:
        return process.wait()
    except KeyboardInterrupt:
        # The terminal sent Ctrl-C to the server too: let it close its connections.
        return process.wait(STOP_SECONDS)
    finally:
        if process.poll() is None:
            process.terminate()


def command(tag: str, port: int) -> list[str]:
    """Command line of a server on loopback."""
    bento = str(bento_folder(tag))
    return [sys.executable, "-m", "bentoml", "serve", bento, "--host", "127.0.0.1", "--port", str(port)]


def environment(port: int, without: Sequence[str] = ()) -> dict[str, str]:
    """This process's environment, changed so that a Bento finds caches here and its code in itself.

    Each port has a BentoML home of its own: a server that starts empties the metrics folder in it.
    """
    home = _home(port)
    home.mkdir(parents=True, exist_ok=True)
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("KYARA_ROOT", "PYTHONPATH", *without)
    }
    return {**inherited, "KYARA_HOME": str(settings().base_dir), "BENTOML_HOME": str(home)}


def _home(port: int) -> Path:
    return store() / "servers" / str(port)


def check_port(port: int) -> None:
    """Raises EnvironmentProblem when the port is in use."""
    if error := refusal(port):
        hint = "Stop the other program, or name another: `kyara serve --port N` or KYARA_SERVE_PORT."
        raise EnvironmentProblem(f"port {port} is in use ({error.strerror}).", hint=hint) from error


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    """To the child and all its children; nothing where they are gone."""
    if os.name == "nt":
        process.terminate()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)

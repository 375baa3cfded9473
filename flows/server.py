"""A Bento behind a port: as a child process for one question, or in the foreground for `kyara serve`."""

import contextlib
import ipaddress
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from components.errors import EnvironmentProblem
from components.keys import read_keys
from components.settings import settings
from flows.package import bento_folder, bento_labels, champion_bento, own_code, store
from flows.ports import HOST, free_port, require_port
from flows.processes import Process, child, log_tail, terminable, wait_until

READY_SECONDS = 180.0
STOP_SECONDS = 15.0


class Smoke(NamedTuple):
    """A picture that a Bento drew over HTTP, its headers, and how long it took to be ready, to draw, and to stop."""

    png: bytes
    headers: dict[str, str]
    ready_seconds: float
    picture_seconds: float


class Server:
    """`bentoml serve` of one Bento on loopback. A context manager: leaving it stops all of its processes.

    Args:
        tag: a Bento in the store.
        port: default: a free one.
        models: folder whose champion is followed; default: the Bento's own model.
        variables: of the environment, over ours.
    """

    def __init__(
        self,
        tag: str,
        *,
        port: int | None = None,
        models: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        bento_labels(tag)
        self.tag = tag
        self.port = free_port() if port is None else port
        self.url = f"http://{HOST}:{self.port}"
        self.log = settings().logs / f"serve_{tag.replace(':', '_')}_{self.port}.log"
        self._variables = {**({} if models is None else {"KYARA_MODELS": str(models)}), **(variables or {})}
        self._stack = contextlib.ExitStack()
        self.process: Process | None = None

    def __enter__(self) -> "Server":
        self.log.unlink(missing_ok=True)
        variables = {**environment(self.port, without=("KYARA_MODELS",)), **self._variables}
        self._stack.callback(shutil.rmtree, _home(self.port), ignore_errors=True)
        self.process = self._stack.enter_context(
            child(command(self.tag, self.port), log=self.log, environment=variables, patience=STOP_SECONDS)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wait_ready(self, timeout: float = READY_SECONDS) -> float:
        """Seconds until /readyz answered 200. Raises EnvironmentProblem with the end of the log when it never does."""
        assert self.process is not None
        return wait_until(f"{self.url}/readyz", self.process, self.log, timeout)

    def generate(self, request: Mapping[str, Any], timeout: float = 600) -> httpx.Response:
        """Ask for a picture. Raises EnvironmentProblem for any answer but 200."""
        try:
            response = httpx.post(f"{self.url}/generate", json=dict(request), timeout=timeout, trust_env=False)
        except httpx.HTTPError as error:
            raise self._failure(f"did not answer: {error!r}") from error
        if response.status_code != 200:
            raise self._failure(f"answered {response.status_code}: {response.text[:500]}")
        return response

    def _failure(self, what: str) -> EnvironmentProblem:
        message = f"the server of {self.tag!r} {what}.{log_tail(self.log)}"
        return EnvironmentProblem(message, hint=f"Its log: {self.log}")


def smoke(tag: str, request: Mapping[str, Any]) -> Smoke:
    """Serve a Bento once, ask it for a picture, stop it. Raises KyaraError with the end of its log."""
    with Server(tag) as server:
        ready = server.wait_ready()
        began = time.perf_counter()
        response = server.generate(request)
        return Smoke(response.content, dict(response.headers), ready, time.perf_counter() - began)


def serve(tag: str | None = None, port: int | None = None, host: str = HOST, models: Path | None = None) -> int:
    """Serve a Bento (default: the champion's) in the foreground until Ctrl-C or SIGTERM; its exit code, 0 for these.

    Args:
        models: folder whose champion is followed; default: as KYARA_MODELS says.

    Raises:
        EnvironmentProblem: the port is in use, or the host is reachable from elsewhere and there are no keys.
        KyaraError: there is no such Bento.
    """
    tag = tag or champion_bento()
    bento_labels(tag)
    port = port or settings().serve_port
    check_exposed(host)
    require_port(port, "--port or KYARA_SERVE_PORT")
    patience = STOP_SECONDS + settings().drain_most_seconds
    variables = {**environment(port), **({} if models is None else {"KYARA_MODELS": str(models)})}
    running = child(command(tag, port, host), environment=variables, patience=patience)
    with contextlib.suppress(KeyboardInterrupt), terminable(), running as process:
        return process.wait()
    return 0


def check_exposed(host: str) -> None:
    """Raise EnvironmentProblem for an address that is reachable from elsewhere, unless KYARA_KEYS names sound keys."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise EnvironmentProblem(f"host {host!r} is no IP address.", hint="Give --host 127.0.0.1, say.") from error
    if address.is_loopback:
        return
    here = settings()
    if here.keys is None:
        raise EnvironmentProblem(
            f"host {host} is reachable from other machines, and there are no API keys.",
            hint="Name a file of keys in KYARA_KEYS (a line `NAME SECRET` each), or leave --host out.",
        )
    read_keys(here.keys, here.key_rate)


def command(tag: str, port: int, host: str = HOST) -> list[str]:
    """Arguments of `python -m` for a server."""
    return ["bentoml", "serve", str(bento_folder(tag)), "--host", host, "--port", str(port)]


def environment(port: int, without: Sequence[str] = ()) -> dict[str, str]:
    """This process's environment, changed so that a Bento finds caches here and its code in itself.

    Each port has a BentoML home of its own: a server that starts empties the metrics folder in it.
    """
    home = _home(port)
    home.mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in own_code().items() if name not in without}
    return {**inherited, "KYARA_HOME": str(settings().base_dir), "BENTOML_HOME": str(home)}


def _home(port: int) -> Path:
    return store() / "servers" / str(port)

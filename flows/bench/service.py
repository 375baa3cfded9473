"""`kyara bench service`: the service as users start it, a plain server, and the bare engine, in one run.

The servers run one at a time on the same cores, in turns whose order changes from round to round; clients run there
too. All figures of one run compare with each other, and with no other run's. {n} is a number of clients.

rps.{n}                 pictures a second of the service (answers 200 until the last of them)
p50/p95/p99.{n}         seconds from a request's start to its picture; null: none was drawn
statuses.{n}            answers by HTTP status; 0: no answer, or a part of one. A client that is told to come back
                        later (429, 503) waits as long as it is told
plain.*, student.*      the same of the plain server (`load/plain_server.py`: diffusers in plain torch behind FastAPI,
                        one lock): 20 steps of the base with guidance; and the distilled model at its own steps
bare.p50                seconds of a picture of the engine alone, PNG included (`load/bare.py`)
overhead                p50.1 / bare.p50 - 1: what reading prompts, HTTP and metadata cost one client
vs_plain                rps.4 / plain.rps.4: as users get it
vs_plain_equal_steps    rps.4 / student.rps.4: what the engine and the server add to the distilled model
health_ms               99th percentile of GET /livez while the most clients ask, milliseconds; health.failed: not 200
swap_ms                 median of requests that change the LoRA each time less that of requests which keep it, both warm
swap_cold_ms            the first request with a LoRA that was never seen less one without
swap.statuses           answers of these requests
ready_s                 seconds from the process' start to /readyz, the median of starts with warm caches;
                        ready.first_s: the very first of this run
drain.lost              requests sent before a SIGTERM and not answered, or cut, over drain.rounds starts; drain.late:
                        sent after it and refused; drain.statuses: answers of all rounds
threads                 cores that servers and clients share
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from components.artifact import pointed, write_json
from components.contracts import RunLog
from components.errors import EnvironmentProblem, RecipeError, RequestError
from components.image import promptset
from components.image.product import read_model
from components.image.recipe import ImageRecipe
from components.runlog import ConsoleLog
from components.settings import REPOSITORY, settings
from flows.bench.load import draining, swapping
from flows.bench.load.clients import BROKEN, Load, Probe, drive, percentile
from flows.package import build
from flows.ports import HOST, free_port
from flows.processes import child, log_tail, wait_until
from flows.promote import models_folder
from flows.server import Server
from flows.stage import open_recipe

PLAIN_CLIENTS = 4
PROMPTS = 8
WARM_SECONDS = 1.0
START_SECONDS = 900.0
"""Longest that a server is waited for: a machine may be busy, and the first start converts networks."""
PLAIN: Mapping[str, Sequence[str]] = {"plain": (), "student": ("--student",)}
"""Plain servers by name, and their arguments."""


@dataclass(frozen=True)
class Options:
    """`--set` of these changes them; a quick run: clients=[1,4] seconds=3 rounds=1 count=1; count=0: no SIGTERM."""

    clients: Sequence[int] = (1, 4, 16, 64, 256)
    seconds: float = 10.0
    rounds: int = 2
    count: int = 30
    swaps: int = 20

    @classmethod
    def taken(cls, overrides: Mapping[str, Any]) -> tuple["Options", dict[str, Any]]:
        """Ours of `--set`, and the rest, which is the recipe's. Raises RecipeError."""
        names = {each.name for each in fields(cls)}
        ours = {name: value for name, value in overrides.items() if name in names}
        clients = ours.get("clients", cls.clients)
        counts = [value for name, value in ours.items() if name not in ("clients", "count")]
        counts.append(ours.get("count", 0) + 1 if isinstance(ours.get("count", 0), int) else None)
        if not isinstance(clients, list | tuple) or not clients or not all(map(_counts, [*clients, *counts])):
            raise RecipeError(
                f"the bench's options {ours} are wrong.", hint="Expected numbers above 0; clients is a list of them."
            )
        return cls(**ours), {name: value for name, value in overrides.items() if name not in names}


@dataclass
class ServiceBench:
    """One champion, its Bento, and what was seen of everybody so far."""

    recipe: ImageRecipe
    folder: Path
    tag: str
    options: Options
    log: RunLog
    loads: dict[str, Load] = field(default_factory=lambda: defaultdict(Load))
    bare: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=lambda: {"health.failed": 0})

    def prompts(self) -> Sequence[str]:
        """What is asked for: the report set's first prompts, or the trigger alone."""
        if self.recipe.prompts is None:
            return [self.recipe.trigger]
        return [item.prompt for item in promptset.load(settings().resolve(self.recipe.prompts), "report", PROMPTS)]

    def asker(self) -> Callable[[int], Mapping[str, Any]]:
        """The body of a request by its number."""
        prompts = self.prompts()
        return lambda number: {"prompt": prompts[number % len(prompts)], "seed": number}

    @contextlib.contextmanager
    def service(self, loras: Path | None = None) -> Iterator[Server]:
        """The packaged champion, ready."""
        server = Server(self.tag, variables={} if loras is None else {"KYARA_LORAS": str(loras)})
        with server:
            self.ready.append(server.wait_ready(START_SECONDS))
            yield server

    def measure_service(self) -> None:
        """All numbers of clients, one after another."""
        ask = self.asker()
        with self.service() as server:
            self._warm(server.port, server.log)
            for clients in self.options.clients:
                with contextlib.ExitStack() as stack:
                    probe = stack.enter_context(Probe(server.port)) if clients == max(self.options.clients) else None
                    self._saw(str(clients), drive(server.port, ask, clients, self.options.seconds))
                if probe is not None:
                    self.health += probe.seconds
                    self.more["health.failed"] += probe.failed

    def measure_plain(self, name: str) -> None:
        """One of the plain servers, at PLAIN_CLIENTS."""
        port, ask, log = free_port(), self.asker(), settings().logs / f"bench_{name}.log"
        arguments = ["flows.bench.load.plain_server", str(self.folder), str(port), *PLAIN[name]]
        with child(arguments, log=log, folder=REPOSITORY, environment=self._environment()) as process:
            wait_until(f"http://{HOST}:{port}/readyz", process, log, START_SECONDS)
            self._warm(port, log)
            self._saw(f"{name}.{PLAIN_CLIENTS}", drive(port, ask, PLAIN_CLIENTS, self.options.seconds))

    def measure_bare(self) -> None:
        """The engine in a process of its own. Raises EnvironmentProblem."""
        package = self.recipe.package.model_dump_json()
        command = [sys.executable, "-m", "flows.bench.load.bare", str(self.folder), str(self.options.seconds), package]
        result = subprocess.run(
            command, input=json.dumps(list(self.prompts())), cwd=REPOSITORY, env=self._environment(),
            capture_output=True, text=True,
        )  # fmt: skip
        if result.returncode != 0:
            raise EnvironmentProblem(f"the bare engine cannot be measured:\n{result.stderr[-2000:]}")
        self.bare += json.loads(result.stdout.splitlines()[-1])
        self.log.message(f"bare engine: {statistics.median(self.bare):.4f} s a picture")

    def measure_swaps(self) -> None:
        """Two LoRAs in turns, on the first start, which fills the caches as well."""
        with tempfile.TemporaryDirectory(prefix="kyara-bench-") as folder:
            base = str(settings().resolve(read_model(self.folder).base.base))
            swapping.make_loras(base, Path(folder))
            with self.service(Path(folder)) as server:
                self.log.message(f"first start: {self.ready[0]:.1f} s")
                self._warm(server.port, server.log)
                self.more |= swapping.measure(server.port, self.asker(), self.options.swaps)
        self.log.message(f"swap: {self.more['swap_ms']:.1f} ms, cold {self.more['swap_cold_ms']:.0f} ms")

    def measure_drains(self) -> None:
        """SIGTERM under load, at another moment each time."""
        drained = draining.Drained()
        for turn in range(self.options.count):
            with self.service() as server:
                draining.end_under_load(server, self.asker(), 0.5 + 0.13 * (turn % 8), drained)
            self.log.message(f"drain {turn + 1} of {self.options.count}: {drained.lost} lost")
        self.more |= drained.told()

    def metrics(self) -> dict[str, Any]:
        """All keys of the module's list."""
        found: dict[str, Any] = {}
        for name, load in self.loads.items():
            server, _, clients = name.rpartition(".")
            told = load.told(clients)
            found |= {f"{server}.{key}": value for key, value in told.items()} if server else told
        most = found.get(f"rps.{PLAIN_CLIENTS}")
        bare, alone = percentile(self.bare, 50), found.get("p50.1")
        first, *rest = self.ready
        return {
            **found,
            "bare.p50": bare,
            "overhead": _ratio(alone, bare, less=1.0),
            "vs_plain": _ratio(most, found.get(f"plain.rps.{PLAIN_CLIENTS}")),
            "vs_plain_equal_steps": _ratio(most, found.get(f"student.rps.{PLAIN_CLIENTS}")),
            "health_ms": 1000 * (percentile(self.health, 99) or 0.0),
            "ready_s": statistics.median(rest or [first]),
            "ready.first_s": first,
            **self.more,
        }

    def _warm(self, port: int, log: Path) -> None:
        """The first pictures, which do not count. Raises EnvironmentProblem where there are none."""
        load = drive(port, self.asker(), 1, WARM_SECONDS)
        if not load.seconds:
            raise EnvironmentProblem(
                f"the server draws nothing: its answers are {dict(load.statuses)}.{log_tail(log)}",
                hint=f"Its log: {log}",
            )

    def _saw(self, name: str, load: Load) -> None:
        self.loads[name] += load
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(load.statuses.items()))
        self.log.message(f"{name} clients: {load.rate:.2f} pictures a second ({counts})")
        if load.statuses[BROKEN]:
            self.log.warn(f"{name}: {load.statuses[BROKEN]} requests had no answer")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KYARA_HOME": str(settings().base_dir)}


def run(
    recipe_name: str, out: Path, *, modes: str = "current", overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Measure the champion's service and write `out` (JSON).

    Args:
        modes: nothing but `current`.
        overrides: `clients`, `seconds` (of each measurement), `rounds`, `count` (of SIGTERMs), `swaps`; the rest is the
            recipe's.

    Raises:
        RequestError: the recipe makes no pictures.
        ArtifactError: it has no champion.
    """
    if modes != "current":
        raise RequestError(f"modes {modes!r} of the service's bench is unknown.", hint="Expected: current.")
    options, rest = Options.taken(overrides or {})
    recipe = open_recipe(recipe_name, rest)
    if not isinstance(recipe, ImageRecipe):
        raise RequestError(f"recipe {recipe.name!r} makes no pictures.", hint="Name one that does.")
    folder = pointed(models_folder(recipe.name, recipe.modality))
    with ConsoleLog("service") as log:
        bench = ServiceBench(recipe, folder, build(recipe, folder, {}), options, log)
        bench.measure_swaps()
        turns = [
            bench.measure_service, *(lambda name=name: bench.measure_plain(name) for name in PLAIN), bench.measure_bare,
        ]  # fmt: skip
        for number in range(options.rounds):
            for measure in turns if number % 2 == 0 else reversed(turns):
                measure()
        bench.measure_drains()
        metrics = {
            "recipe": recipe.name,
            "model": folder.name,
            "threads": len(os.sched_getaffinity(0)),
            **bench.metrics(),
        }
    write_json(out, metrics)
    return metrics


def _counts(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _cores() -> int:
    import psutil

    process = psutil.Process()
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1


def _ratio(value: float | None, other: float | None, less: float = 0.0) -> float | None:
    return value / other - less if value is not None and other else None

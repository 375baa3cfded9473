"""Runs that wait for a worker: one deployment a recipe, and the schedule of the benchmark.

A deployment names no file of this machine: its code is a module that is installed where a run takes place (or is cloned
there, flows.pools), and a recipe of one's own travels in the parameters. Only a process worker can cancel a run
properly: `flow.serve` orphans child processes, and a flow started as a script is never told.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from components.errors import EnvironmentProblem
from components.settings import REPOSITORY, quiet_environment, settings
from flows.heartbeat import reconcile
from flows.pools import Pool, chosen_pool, make_pool, source
from flows.prefect_server import configured_api, prefect_api
from flows.processes import child, terminable
from flows.runs import new_run_id
from flows.stage import known_recipes, open_recipe, portable_recipe

BENCHMARK_EVERY = timedelta(days=1)


def require_api() -> str:
    """The address of a lasting Prefect server. Raises EnvironmentProblem where none is configured or answers."""
    address = configured_api()
    if address is None:
        message = f"no Prefect server answers on port {settings().prefect_port}."
        raise EnvironmentProblem(message, hint="Start `kyara ui` in another terminal, and `kyara worker` in a third.")
    return address


def enqueue(recipe: str, overrides: Mapping[str, Any]) -> str:
    """Hand a run to the worker; returns its id. A wrong recipe is refused here already."""
    name = open_recipe(recipe, overrides).name
    with _connected():
        from prefect.deployments import run_deployment

        deploy(recipe, chosen_pool())
        run_id = new_run_id()
        parameters = {"recipe": portable_recipe(recipe), "overrides": dict(overrides), "run_id": run_id}
        run_deployment(f"produce/{name}", parameters=parameters, flow_run_name=run_id, timeout=0)
    return run_id


def deploy(recipe: str, pool: Pool) -> None:
    """Create or refresh `produce/<recipe>`; runs of one recipe wait for each other. Needs a Prefect API."""
    from flows.produce import produce

    make_pool(pool)
    _deploy(produce, open_recipe(recipe).name, {"recipe": portable_recipe(recipe)}, None, pool)


def deploy_all(pool: Pool) -> None:
    """The work pool, a deployment for each recipe that comes with Kyara, and the champion's benchmark every day."""
    from flows.benchmark import benchmark

    for name in known_recipes():
        deploy(name, pool)
        _deploy(benchmark, name, {"recipe": name}, BENCHMARK_EVERY, pool)


def work(kind: str | None = None, name: str | None = None, limit: int | None = None) -> int:
    """Deploy everything, then work until interrupted; the worker's exit code.

    Args:
        kind: process, docker or kubernetes; default: KYARA_POOL_TYPE.
        name: the work pool; default: KYARA_POOL.
        limit: runs that this worker takes at once; default: any number.

    Raises:
        EnvironmentProblem: there is no Prefect server, or the pool cannot be had.
    """
    with _connected() as address:
        pool = chosen_pool(kind, name)
        reconcile()
        deploy_all(pool)
        command = ["prefect", "worker", "start", "--pool", pool.name, "--type", pool.kind]
        command += [] if limit is None else ["--limit", str(limit)]
        variables = {**_environment(), "PREFECT_API_URL": address}
        # The worker hands the signal on to what it runs, and waits for it.
        with terminable(), child(command, environment=variables, folder=REPOSITORY, patience=60) as process:
            return process.wait()


@contextlib.contextmanager
def _connected() -> Iterator[str]:
    """prefect_api, but never a private server: it would end with this process, and the queue with it."""
    require_api()
    with prefect_api() as address:
        from httpx import HTTPError
        from prefect.exceptions import PrefectHTTPStatusError

        try:
            yield address
        except (HTTPError, PrefectHTTPStatusError) as error:
            reason = str(error).partition("\n")[0] or repr(error)
            hint = "Are PREFECT_API_URL and PREFECT_API_AUTH_STRING (or PREFECT_API_KEY) right?"
            raise EnvironmentProblem(f"the Prefect server {address!r} refuses: {reason}", hint=hint) from error


def _deploy(flow: Any, name: str, parameters: Mapping[str, Any], every: timedelta | None, pool: Pool) -> None:
    from prefect.deployments.runner import EntrypointType

    deployment = flow.to_deployment(
        name=name,
        parameters=dict(parameters),
        interval=every,
        concurrency_limit=1,
        work_pool_name=pool.name,
        job_variables=pool.job_variables(),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment.storage = source()
    deployment.apply()


def _environment() -> dict[str, str]:
    quiet_environment()
    theirs = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY), *([theirs] if theirs else [])))}

"""Runs that wait for a worker: the work pool, one deployment a recipe, and the schedule of the benchmark.

Only a process worker can cancel a run properly: `flow.serve` orphans child processes, and a flow started as a script is
never told.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from components.errors import EnvironmentProblem
from components.settings import REPOSITORY, quiet_environment, settings
from flows.heartbeat import reconcile
from flows.prefect_server import configured_api, prefect_api
from flows.processes import child, terminable
from flows.runs import new_run_id
from flows.stage import find_recipe, known_recipes, open_recipe

POOL = "kyara"
BENCHMARK_EVERY = timedelta(days=1)


def require_api() -> str:
    """The address of a lasting Prefect server. Raises EnvironmentProblem where none answers."""
    address = configured_api()
    if address is None:
        message = f"no Prefect server answers on port {settings().prefect_port}."
        raise EnvironmentProblem(message, hint="Start `kyara ui` in another terminal, and `kyara worker` in a third.")
    return address


def enqueue(recipe: str, overrides: Mapping[str, Any]) -> str:
    """Hand a run to the worker; returns its id. A wrong recipe is refused here already."""
    path = find_recipe(recipe)
    name = open_recipe(recipe, overrides).name
    with _connected():
        from prefect.deployments import run_deployment

        deploy(path)
        run_id = new_run_id()
        parameters = {"recipe": str(path), "overrides": dict(overrides), "run_id": run_id}
        run_deployment(f"produce/{name}", parameters=parameters, flow_run_name=run_id, timeout=0)
    return run_id


def deploy(recipe: Path) -> None:
    """Create or refresh `produce/<recipe>`; runs of one recipe wait for each other. Needs a Prefect API."""
    from flows.produce import produce

    _deploy(produce, "flows/produce.py:produce", open_recipe(str(recipe)).name, {"recipe": str(recipe)}, None)


def deploy_all() -> None:
    """The work pool, a deployment for each recipe that comes with Kyara, and the champion's benchmark every day."""
    from flows.benchmark import benchmark

    for name in known_recipes():
        deploy(find_recipe(name))
        _deploy(benchmark, "flows/benchmark.py:benchmark", name, {"recipe": name}, BENCHMARK_EVERY)


def work() -> int:
    """Deploy everything, then work until interrupted; the worker's exit code."""
    with _connected() as address:
        reconcile()
        deploy_all()
        command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        variables = {**_environment(), "PREFECT_API_URL": address}
        # The worker hands the signal on to what it runs, and waits for it.
        with terminable(), child(command, environment=variables, folder=REPOSITORY, patience=60) as process:
            return process.wait()


def _connected() -> Any:
    """prefect_api, but never a private server: it would end with this process, and the queue with it."""
    require_api()
    return prefect_api()


def _deploy(flow: Any, entrypoint: str, name: str, parameters: Mapping[str, Any], every: timedelta | None) -> None:
    _make_pool()
    sourced = flow.from_source(source=str(REPOSITORY), entrypoint=entrypoint)
    deployment = sourced.to_deployment(
        name=name,
        parameters=dict(parameters),
        interval=every,
        concurrency_limit=1,
        work_pool_name=POOL,
        job_variables={"env": {"PYTHONPATH": str(REPOSITORY)}, "working_dir": str(REPOSITORY)},
    )
    deployment.apply()


def _make_pool() -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        except ObjectAlreadyExists:
            return


def _environment() -> dict[str, str]:
    quiet_environment()
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}

"""A run in this terminal: Ctrl-C and SIGTERM cancel it, and what it has made is resumed by the next."""

import os
import time
from collections.abc import Mapping
from typing import Any

from components.runlog import ConsoleLog, logger
from components.settings import quiet_environment
from flows.prefect_server import prefect_api
from flows.processes import terminable
from flows.runs import new_run_id, write_result
from flows.stage import find_recipe, open_recipe

# Prefect's own console lines repeat what the bars say; the pages keep them, and get Kyara's too.
PREFECT_LOGS = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_LOGGING_EXTRA_LOGGERS": "kyara"}


def produce_here(recipe: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run a recipe to its end and return its result (see flows.produce), with `seconds.startup` before the pipeline.

    Raises:
        KyaraError: see flows.produce.produce. A wrong recipe is refused before anything is started.
        KeyboardInterrupt: Ctrl-C or SIGTERM.
    """
    started = time.perf_counter()
    quiet_environment()
    for name, value in PREFECT_LOGS.items():
        os.environ.setdefault(name, value)
    open_recipe(recipe, overrides)
    with terminable(), prefect_api():
        from flows.heartbeat import reconcile
        from flows.produce import produce

        for dead in reconcile():
            ConsoleLog("produce").warn(f"run {dead} died; it is marked so, and what it made is resumed")
        run_id = new_run_id()
        began = time.perf_counter()
        try:
            result: dict[str, Any] = produce(str(find_recipe(recipe)), dict(overrides or {}), run_id)
        except (KeyboardInterrupt, SystemExit):
            _mark_cancelled(run_id)
            raise
        pipeline = time.perf_counter() - began
    # The outer clock: it also sees what Prefect does before and after the flow's own lines.
    stages = result["seconds.pipeline"] - result["seconds.orchestration"]
    times = {"startup": began - started, "pipeline": pipeline, "orchestration": pipeline - stages}
    result |= {f"seconds.{name}": round(value, 3) for name, value in times.items()}
    write_result(run_id, result)
    return result


def _mark_cancelled(run_id: str) -> None:
    """Prefect calls an interrupted run Crashed; the user meant to cancel it."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
    from prefect.states import Cancelled

    try:
        with get_client(sync_client=True) as client:
            for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[run_id]))):
                client.set_flow_run_state(run.id, Cancelled(message="Interrupted; run it again to resume."), force=True)
    except Exception as error:
        logger.warning("run %s is not marked as cancelled in Prefect: %r", run_id, error)

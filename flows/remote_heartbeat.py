"""What other machines see of a run: labels on its flow run, written again and again while it is worked on.

A machine that is gone for good leaves no process to look up and no file that others could read (flows.heartbeat); its
runs are known by labels that have grown old.
"""

import time
from collections.abc import Mapping
from typing import Any

from components.runlog import logger

BEAT, HOST, MLFLOW, RUN = "kyara.beat", "kyara.host", "kyara.mlflow_run_id", "kyara.run_id"
EVERY_SECONDS = 30.0
# Machines' clocks differ, and a server may be away for a while.
SILENT_SECONDS = 300.0


def tell(flow_run_id: str, facts: Mapping[str, Any]) -> None:
    """Say that a run is alive. A server that cannot be reached costs the run nothing."""
    from prefect.client.orchestration import get_client

    labels = {
        BEAT: time.time(),
        HOST: str(facts["host"]),
        RUN: str(facts["run_id"]),
        MLFLOW: str(facts.get("mlflow_run_id") or ""),
    }
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(flow_run_id, labels)
    except Exception as error:
        logger.warning("run %s did not tell Prefect that it is alive: %r", facts["run_id"], error)


def silent_runs(seconds: float = SILENT_SECONDS) -> list[dict[str, str]]:
    """run_id, flow_run_id, mlflow_run_id and host of the runs that Prefect believes in and nobody has heard of."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    running = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=running)), limit=200)
    old = [run for run in found if BEAT in run.labels and time.time() - float(run.labels[BEAT]) > seconds]
    return [
        {
            "run_id": str(run.labels[RUN]),
            "flow_run_id": str(run.id),
            "mlflow_run_id": str(run.labels[MLFLOW]),
            "host": str(run.labels[HOST]),
        }
        for run in old
    ]

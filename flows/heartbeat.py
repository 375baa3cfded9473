"""Who works on a run: runs/<id>/heartbeat.json, rewritten every few seconds and removed at the end.

A process that dies leaves its flow run Running for ever (PrefectHQ/prefect#16746) and its MLflow runs open. The file
it leaves behind names both; the next start finds it stale and closes them. For the machines that do not see the file,
the flow run's labels say the same (flows.remote_heartbeat).
"""

import contextlib
import contextvars
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from components import tracking
from components.artifact import write_json
from components.errors import EnvironmentProblem, TrackingError
from components.runlog import logger
from components.settings import settings
from flows import remote_heartbeat

FILE = "heartbeat.json"
EVERY_SECONDS = 5.0
# Only for runs of other machines; on this one the process itself is looked up.
STALE_SECONDS = 120.0


@contextmanager
def beating(run_id: str, facts: Mapping[str, Any], every: float = EVERY_SECONDS) -> Iterator[None]:
    """Keep the heartbeat of `run_id` alive while the block runs.

    Args:
        facts: recipe, flow_run_id and mlflow_run_id, for whoever finds the file.
    """
    file = settings().runs / run_id / FILE
    done = threading.Event()
    who = {"run_id": run_id, **this_process(), **facts}

    def beat() -> None:
        told = -remote_heartbeat.EVERY_SECONDS
        while True:
            write_json(file, {**who, "time": time.time()})
            if facts.get("flow_run_id") and time.monotonic() - told >= remote_heartbeat.EVERY_SECONDS:
                told = time.monotonic()
                remote_heartbeat.tell(str(facts["flow_run_id"]), who)
            if done.wait(every):
                return

    # Prefect's settings live in the context.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(beat,), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        file.unlink(missing_ok=True)
        # A single stage leaves nothing else there.
        with contextlib.suppress(OSError):
            file.parent.rmdir()


def this_process() -> dict[str, Any]:
    """What tells this process from all others: pids are given again, and several machines may share the folder."""
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}


def is_alive(beat: Mapping[str, Any]) -> bool:
    """Whether the process behind a heartbeat still works."""
    if beat["host"] != socket.gethostname():
        return time.time() - float(beat["time"]) < STALE_SECONDS
    try:
        # A pid may have been given to another process since.
        return abs(psutil.Process(beat["pid"]).create_time() - float(beat["started"])) < 1
    except psutil.Error:
        return False


def refuse_if_busy(recipe: str) -> None:
    """Raise EnvironmentProblem where another process produces the same recipe: both would write the same folders."""
    own = this_process()
    for _, beat in _beats():
        if beat.get("recipe") == recipe and not own.items() <= beat.items() and is_alive(beat):
            since = datetime.fromtimestamp(float(beat["started"]))
            who = f"run {beat['run_id']}, process {beat['pid']} on {beat['host']} since {since:%Y-%m-%d %H:%M:%S}"
            message = f"recipe {recipe!r} is being produced already ({who})."
            raise EnvironmentProblem(message, hint="Wait for it or stop it, or give your recipe another `name`.")


def reconcile(silent_seconds: float = remote_heartbeat.SILENT_SECONDS) -> list[str]:
    """Close what dead processes left open: Crashed in Prefect, KILLED in MLflow. Returns their run ids.

    Args:
        silent_seconds: after which a run on another machine counts as dead.
    """
    dead = []
    for file, beat in [each for each in _beats() if not is_alive(each[1])]:
        _close(beat)
        file.unlink(missing_ok=True)
        dead.append(beat)
    known = {beat["run_id"] for _, beat in _beats()}
    silent = [run for run in remote_heartbeat.silent_runs(silent_seconds) if run["run_id"] not in known]
    for run in silent:
        _close(run)
    return [str(each["run_id"]) for each in (*dead, *silent)]


def _close(beat: Mapping[str, Any]) -> None:
    _close_flow_run(beat.get("flow_run_id"))
    try:
        if beat.get("mlflow_run_id"):
            tracking.end_abandoned(beat["mlflow_run_id"])
    except TrackingError as error:
        logger.warning("run %s stays open in MLflow: %s", beat["run_id"], error)


def _beats() -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(settings().runs.glob(f"*/{FILE}")):
        try:
            yield file, json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # Its run ended just now.
            continue


def _close_flow_run(flow_run_id: str | None) -> None:
    """A run that Prefect still believes in, and its task, as Crashed."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    if flow_run_id is None:
        return
    crashed = Crashed(message="Its process is gone; run it again to resume.")
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(flow_run_id).state
        except ObjectNotFound:
            return
        if state is None or not state.is_final():
            client.set_flow_run_state(flow_run_id, crashed, force=True)
        for task in client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))):
            if task.state is None or not task.state.is_final():
                client.set_task_run_state(task.id, crashed, force=True)

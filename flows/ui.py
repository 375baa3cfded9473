"""`kyara ui`: the Prefect and MLflow pages on loopback."""

import contextlib
import time
from collections.abc import Iterator

from components.errors import EnvironmentProblem
from components.settings import settings
from flows.links import all_links
from flows.ports import HOST, require_port
from flows.prefect_server import serving_prefect
from flows.processes import child, log_tail, terminable, wait_until

WORDS = {
    "runs": "all runs",
    "champion": "the champion's run",
    "comparison": "champion and newest run compared",
    "flow_run": "the newest flow run",
}


def pages() -> Iterator[str]:
    """Serve the Prefect and MLflow pages until the iterator is closed.

    Yields:
        their addresses as they become ready, then a line for each page that shows something (flows.links).

    Raises:
        EnvironmentProblem: a port is in use, or a server ended.
    """
    from components.tracking import connect, serve_arguments

    here = settings()
    require_port(here.prefect_port, "KYARA_PREFECT_PORT")
    require_port(here.mlflow_port, "KYARA_MLFLOW_PORT")
    logs = {"prefect": here.logs / "prefect.log", "mlflow": here.logs / "mlflow.log"}
    with contextlib.ExitStack() as stack:
        stack.enter_context(terminable())
        servers = {"prefect": stack.enter_context(serving_prefect(here.prefect_port, logs["prefect"]))}
        connect()
        servers["mlflow"] = stack.enter_context(child(serve_arguments(here.mlflow_port), log=logs["mlflow"]))
        wait_until(f"http://{HOST}:{here.prefect_port}/api/health", servers["prefect"], logs["prefect"])
        yield f"http://{HOST}:{here.prefect_port}"
        wait_until(f"http://{HOST}:{here.mlflow_port}/health", servers["mlflow"], logs["mlflow"])
        yield f"http://{HOST}:{here.mlflow_port}"
        for recipe, links in all_links().items():
            yield from (f"{recipe}, {WORDS[link.what]}: {link.url}" for link in links)
        while (ended := next((name for name, server in servers.items() if server.poll() is not None), None)) is None:
            time.sleep(0.5)
        raise EnvironmentProblem(
            f"the {ended} server ended by itself.{log_tail(logs[ended])}", hint=f"Its log: {logs[ended]}"
        )

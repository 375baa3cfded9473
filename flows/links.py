"""Addresses of the pages that show something: runs side by side, the champion's run, the newest flow run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from components import tracking
from components.settings import settings
from flows.ports import HOST

# What the list of runs shows first, and in this order.
HEADLINE = ("lora.style", "lcm4.adherence", "fidelity.adherence_ratio", "speed.total", "seconds.pipeline")
VIEW = "kyara"


@dataclass(frozen=True)
class Link:
    """A page: `what` is its name among the texts of the report, such as `runs`."""

    what: str
    url: str


def all_links() -> dict[str, list[Link]]:
    """The pages of every recipe that was ever run. Raises TrackingError where MLflow does not answer."""
    return {name: list(_links(name, experiment)) for name, experiment in tracking.experiments().items()}


def recipe_links(recipe: str) -> list[Link]:
    """The pages of one recipe; none before its first run. Raises TrackingError."""
    experiment = tracking.experiments().get(recipe)
    return [] if experiment is None else list(_links(recipe, experiment))


def prefect_address() -> str:
    """Where `kyara ui` serves Prefect's pages."""
    return f"http://{HOST}:{settings().prefect_port}"


def mlflow_address() -> str:
    """MLflow's pages: the team's server, or those of `kyara ui`."""
    uri = settings().mlflow_uri or ""
    return uri.rstrip("/") if uri.startswith("http") else f"http://{HOST}:{settings().mlflow_port}"


def _links(recipe: str, experiment: str) -> Iterator[Link]:
    tracking.share_view(experiment, VIEW, _view())
    runs = f"{mlflow_address()}/#/experiments/{experiment}/runs"
    yield Link("runs", f"{runs}?viewStateShareKey={VIEW}")
    champion = tracking.champion(recipe)
    products = tracking.newest_products(experiment, 2)
    if champion is not None:
        yield Link("champion", f"{runs}/{champion.run_id}")
    compared = _compared([run for run, _ in products], None if champion is None else champion.run_id)
    if len(compared) > 1:
        both = f"runs={quote(json.dumps(compared))}&experiments={quote(json.dumps([experiment]))}"
        yield Link("comparison", f"{mlflow_address()}/#/compare-runs?{both}")
    if products and "prefect.flow_run_id" in products[0][1]:
        yield Link("flow_run", f"{prefect_address()}/runs/flow-run/{products[0][1]['prefect.flow_run_id']}")


def _compared(newest: list[str], champion: str | None) -> list[str]:
    """The champion and the newest product; the two newest where these are one."""
    return list(dict.fromkeys(run for run in (champion, *newest) if run is not None))[:2]


def _view() -> dict[str, object]:
    """MLflow's list of runs: products only, with the headline metrics as columns."""
    columns = ["attributes.`Duration`", *(f"metrics.`{name}`" for name in HEADLINE), "tags.`mlflow.model_version`"]
    return {
        "searchFilter": "tags.`kyara.stage` = 'produce'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": columns,
        "runsHiddenMode": "SHOW_ALL",
    }

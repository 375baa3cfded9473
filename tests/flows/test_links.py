"""Links into the tracked pages, over a real store. The ids in them are those that MLflow gave."""

import json
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest

from components import tracking
from components.settings import settings
from flows import links


def product(recipe: str, flow_run: str | None = "flow-1") -> str:
    run = tracking.start_run(recipe, "run", {"kyara.stage": "produce", "prefect.flow_run_id": flow_run})
    child = tracking.start_run(recipe, "train", {"kyara.stage": "train"}, parent=run)
    for each in (child, run):
        tracking.end_run(each, "FINISHED")
    return run


def urls(recipe: str) -> dict[str, str]:
    return {link.what: link.url for link in links.recipe_links(recipe)}


@pytest.fixture(autouse=True)
def _session(session_home: Path) -> None:
    """One store for the module: a new one takes seconds."""


def test_a_recipe_that_never_ran_has_no_pages() -> None:
    assert links.recipe_links("never-ran") == []


def test_the_list_of_runs_opens_with_the_headline_columns_of_products() -> None:
    product("links-runs", flow_run=None)
    found = urls("links-runs")
    experiment = tracking.experiments()["links-runs"]
    assert found == {"runs": f"http://127.0.0.1:5000/#/experiments/{experiment}/runs?viewStateShareKey=kyara"}
    tags = tracking.connect().get_experiment(experiment).tags
    state = json.loads(tags["mlflow.sharedViewState.kyara"])
    assert {f"metrics.`{name}`" for name in links.HEADLINE} < set(state["selectedColumns"])
    shown = tracking.connect().search_runs([experiment], state["searchFilter"])
    assert {run.data.tags["kyara.stage"] for run in shown} == {"produce"}
    # Not the page about language models, which is empty.
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_the_champion_is_compared_with_the_newest_product() -> None:
    first, _, last = product("links-two"), product("links-two"), product("links-two", "flow-9")
    tracking.crown(tracking.register("links-two", first, {}))
    found = urls("links-two")
    assert found["champion"].endswith(f"/runs/{first}")
    address, _, query = found["comparison"].partition("?")
    assert address == "http://127.0.0.1:5000/#/compare-runs"
    asked = {name: json.loads(unquote(values[0])) for name, values in parse_qs(query).items()}
    assert asked == {"runs": [first, last], "experiments": [tracking.experiments()["links-two"]]}
    assert found["flow_run"] == "http://127.0.0.1:4200/runs/flow-run/flow-9"
    assert links.all_links()["links-two"] == links.recipe_links("links-two")


def test_the_newest_champion_is_compared_with_the_product_before() -> None:
    first, last = product("links-newest"), product("links-newest")
    tracking.crown(tracking.register("links-newest", last, {}))
    asked = json.loads(parse_qs(urls("links-newest")["comparison"].partition("?")[2])["runs"][0])
    assert asked == [last, first]


def test_a_teams_server_is_linked_by_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KYARA_MLFLOW_URI", "https://mlflow.example.org/")
    monkeypatch.setenv("KYARA_PREFECT_PORT", "4242")
    settings.cache_clear()
    assert links.mlflow_address() == "https://mlflow.example.org"
    assert links.prefect_address() == "http://127.0.0.1:4242"

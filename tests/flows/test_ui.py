"""The real Prefect and MLflow servers of `kyara ui`: closed to other pages, open to their own and to our programs."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from components import tracking
from components.settings import REPOSITORY, settings
from flows.ports import free_port
from flows.ui import pages
from tests.promoted import home

FOREIGN = "https://evil.example"
# A program of a user: one flow that is deployed, queued, and run by a worker.
DEPLOYED = """
import sys
from pathlib import Path
from prefect import flow, get_client
from prefect.deployments import run_deployment
from flows.pools import chosen_pool, make_pool

@flow
def greet(name: str) -> str:
    Path(name).write_text("hello")
    return name

if __name__ == "__main__":
    pool = chosen_pool()
    make_pool(pool)
    sourced = greet.from_source(source=str(Path(__file__).parent), entrypoint="greeting.py:greet")
    sourced.to_deployment(name="once", work_pool_name=pool.name, parameters={"name": sys.argv[1]}).apply()
    run_deployment("greet/once", timeout=0)
"""


class Servers(NamedTuple):
    """Their addresses, and the lines that `kyara ui` prints after these."""

    prefect: str
    mlflow: str
    lines: Iterator[str]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with home(tmp_path_factory.mktemp("ui")):
        os.environ |= {"KYARA_PREFECT_PORT": str(free_port()), "KYARA_MLFLOW_PORT": str(free_port())}
        os.environ.pop("PREFECT_API_URL", None)
        settings.cache_clear()
        serving = pages()
        try:
            yield Servers(next(serving), next(serving), serving)
        finally:
            serving.close()


def ask(method: str, url: str, body: Any = None, **headers: str) -> httpx.Response:
    return httpx.request(method, url, json=body, headers=headers, timeout=30, trust_env=False)


def test_the_pages_of_a_recipe_are_printed(servers: Servers) -> None:
    recipe = tracking.start_run("printed", "run", {"kyara.stage": "produce", "prefect.flow_run_id": "flow-1"})
    printed = list(itertools.islice(servers.lines, 2))
    experiment = tracking.experiments()["printed"]
    assert printed == [
        f"printed, all runs: {servers.mlflow}/#/experiments/{experiment}/runs?viewStateShareKey=kyara",
        f"printed, the newest flow run: {servers.prefect}/runs/flow-run/flow-1",
    ]
    assert ask("GET", f"{servers.mlflow}/api/2.0/mlflow/runs/get?run_id={recipe}").status_code == 200


def test_prefect_answers_no_foreign_page(servers: Servers) -> None:
    prefect = servers.prefect
    assert ask("GET", prefect + "/api/health", Host="evil.example").status_code == 200, "probes come by any name"
    for path in ("/api/admin/version", "/api/csrf-token?client=a", "/"):
        assert ask("GET", prefect + path).status_code == 200
        assert ask("GET", prefect + path, Host="evil.example").status_code == 403
        assert ask("GET", prefect + path, Origin=FOREIGN).status_code == 403
    made = ask("POST", f"{prefect}/api/flows/", {"name": "evil"}, Origin=FOREIGN)
    assert made.status_code == 403 and "access-control-allow-origin" not in made.headers


def test_prefect_wants_a_csrf_token(servers: Servers) -> None:
    prefect = servers.prefect
    assert ask("POST", f"{prefect}/api/flows/", {"name": "x"}).json() == {"detail": "Missing CSRF token."}
    token = ask("GET", f"{prefect}/api/csrf-token?client=me").json()["token"]
    sent = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "me"}
    assert ask("POST", f"{prefect}/api/flows/", {"name": "x"}, **sent).status_code == 201


def test_prefects_own_pages_may_ask_also_where_they_were_opened_by_name(servers: Servers) -> None:
    prefect = servers.prefect
    pages_settings = ask("GET", f"{prefect}/ui-settings").json()
    assert pages_settings["csrf_enabled"] and pages_settings["api_url"] == f"{prefect}/api"
    for origin in (prefect, prefect.replace("127.0.0.1", "localhost")):
        answer = ask("GET", f"{prefect}/api/health", Origin=origin)
        assert answer.headers["access-control-allow-origin"] == origin
        wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "prefect-csrf-token"}
        assert ask("OPTIONS", f"{prefect}/api/flows/filter", Origin=origin, **wanted).status_code == 200


def test_a_flow_is_queued_and_run_by_a_worker(servers: Servers, tmp_path: Path) -> None:
    prefect = servers.prefect
    (tmp_path / "greeting.py").write_text(DEPLOYED)
    path = os.pathsep.join((str(REPOSITORY), str(tmp_path)))
    variables = {**os.environ, "PREFECT_API_URL": f"{prefect}/api", "PYTHONPATH": path}
    worker = ["-m", "prefect", "worker", "start", "--pool", "kyara", "--type", "process", "--run-once"]
    for arguments in (["greeting.py", str(tmp_path / "greeted")], worker):
        subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=variables, check=True, capture_output=True)
    assert (tmp_path / "greeted").read_text() == "hello"


def test_mlflow_answers_no_foreign_page(servers: Servers) -> None:
    mlflow = servers.mlflow
    create = f"{mlflow}/api/2.0/mlflow/experiments/create"
    for host in ("evil.example", "192.168.0.7:5000", "10.0.0.1"):
        assert ask("POST", create, {"name": "evil"}, Host=host).status_code == 403
        assert ask("GET", mlflow, Host=host).status_code == 403
    assert ask("POST", create, {"name": "evil"}, Origin=FOREIGN).status_code == 403
    assert ask("POST", create, {"name": "ours"}, Origin=mlflow).status_code == 200
    assert ask("GET", mlflow, Host=mlflow.removeprefix("http://").replace("127.0.0.1", "localhost")).status_code == 200
    found = ask("POST", f"{mlflow}/api/2.0/mlflow/experiments/search", {"max_results": 100})
    assert "evil" not in json.dumps(found.json()) and "ours" in json.dumps(found.json())

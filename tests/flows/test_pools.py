"""Work pools of every kind, against a real Prefect server; and what a deployment says of this machine: nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.errors import EnvironmentProblem
from components.settings import REPOSITORY, settings
from flows import deployments
from flows.pools import KINDS, Pool, chosen_pool, make_pool, source
from flows.stage import open_recipe, portable_recipe


def set_up(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"KYARA_{name.upper()}", value)
    settings.cache_clear()


def test_the_settings_choose_the_pool(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_pool() == Pool("kyara", "process")
    set_up(monkeypatch, pool_type="docker")
    assert chosen_pool() == Pool("kyara-docker", "docker")
    assert chosen_pool("kubernetes", "team") == Pool("team", "kubernetes")
    with pytest.raises(EnvironmentProblem, match="'ecs' is unknown"):
        chosen_pool("ecs")


@pytest.mark.parametrize("kind", KINDS)
def test_job_variables_are_those_of_the_pools_template(kind: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"env": {"HF_TOKEN": "x"}, "labels": {"team": "a"}}
    set_up(monkeypatch, pool_image="kyara:1", mlflow_uri="http://mlflow:5000", pool_variables=json.dumps(more))
    pool = chosen_pool(kind)
    variables = pool.job_variables()
    assert set(variables) <= set(pool.template()["variables"]["properties"])
    assert variables["env"]["HF_TOKEN"] == "x" and variables["labels"] == {"team": "a"}
    # A container has none of our environment; a process has all of it.
    assert (variables.get("image"), variables["env"].get("KYARA_MLFLOW_URI")) == (
        (None, None) if kind == "process" else ("kyara:1", "http://mlflow:5000")
    )


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_an_image_has_to_be_named(kind: str, home: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="which image its runs start from"):
        chosen_pool(kind).job_variables()


def test_code_is_installed_or_cloned(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source() is None
    set_up(monkeypatch, source="https://git.example.org/kyara.git#v1")
    (told,) = source().to_pull_step().values()
    assert (told["repository"], told["branch"]) == ("https://git.example.org/kyara.git", "v1")
    set_up(monkeypatch, source="git@git.example.org:team/kyara.git")
    (told,) = source().to_pull_step().values()
    assert (told["repository"], told["branch"]) == ("git@git.example.org:team/kyara.git", None)


PULL = """
import json, os, sys
from prefect.deployments.steps import git_clone
from prefect.flows import load_flow_from_entrypoint
(told,) = json.loads(sys.argv[1]).values()
os.chdir(git_clone(**told)["directory"])
print(load_flow_from_entrypoint("flows.produce.produce").fn.__code__.co_filename)
"""


def test_a_run_loads_the_code_that_it_cloned(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another Kyara is installed."""
    code, run = tmp_path / "code", tmp_path / "run"
    run.mkdir()
    for name in ("components", "flows"):
        shutil.copytree(REPOSITORY / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(code)]
    for arguments in (["init", "-q", "-b", "v1"], ["add", "."], ["commit", "-qm", "code"]):
        subprocess.run([*git, *arguments], check=True)
    set_up(monkeypatch, source=f"file://{code}#v1")
    done = subprocess.run(
        [sys.executable, "-c", PULL, json.dumps(source().to_pull_step())],
        cwd=run,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert Path(done.stdout.splitlines()[-1]).is_relative_to(run), done.stderr


def test_a_recipe_travels_by_name_or_whole(tmp_path: Path) -> None:
    assert portable_recipe("manga-tiny") == "manga-tiny"
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ntrigger: hero\ndataset: {source: /pictures}\n", encoding="utf-8")
    whole = portable_recipe(str(file))
    assert whole == {"name": "mine", "trigger": "hero", "dataset": {"source": "/pictures"}}
    assert open_recipe(whole, {"seed": 3}) == open_recipe(str(file), {"seed": 3})


@pytest.mark.usefixtures("prefect_server")
def test_a_deployment_says_nothing_of_this_machine(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.orchestration import get_client

    file = tmp_path / "elsewhere.yaml"
    file.write_text("name: elsewhere\ntrigger: hero\ndataset: {source: /pictures}\n", encoding="utf-8")
    told: list[Any] = []
    for kind in KINDS:
        set_up(monkeypatch, pool_image="kyara:1", **({"source": "https://x.example/k.git"} if kind == "docker" else {}))
        deployments.deploy(str(file), chosen_pool(kind))
        with get_client(sync_client=True) as client:
            made = client.read_deployment_by_name("produce/elsewhere")
        told.append((made.work_pool_name, bool(made.pull_steps)))
        assert made.entrypoint == "flows.produce.produce" and made.parameters["recipe"]["trigger"] == "hero"
        text = json.dumps([made.path, made.pull_steps, made.parameters, made.job_variables])
        assert str(REPOSITORY) not in text and str(tmp_path) not in text
        monkeypatch.delenv("KYARA_SOURCE", raising=False)
    assert told == [("kyara", False), ("kyara-docker", True), ("kyara-kubernetes", False)]


@pytest.mark.usefixtures("prefect_server")
def test_a_pool_keeps_its_kind(home: Path) -> None:
    make_pool(Pool("one-kind", "process"))
    make_pool(Pool("one-kind", "process"))
    with pytest.raises(EnvironmentProblem, match="is of type 'process', not 'docker'"):
        make_pool(Pool("one-kind", "docker"))

"""A machine of a team, for tests: a process with a home of its own that does what lines of JSON on stdin say."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Machine:
    """Its process, from the outside. `ask` returns what a function below returned, or raises its KyaraError's words."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def ask(self, function: str, **values: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"function": function, "values": values}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["value"]


class Refused(Exception):
    """A KyaraError on another machine."""


@contextmanager
def machine(home: Path, environment: Mapping[str, str]) -> Any:
    """A machine whose KYARA_HOME is `home`, while the block runs."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "stderr").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.machine"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=log, text=True, env={**environment, "KYARA_HOME": str(home)},
        )  # fmt: skip
    try:
        yield Machine(process)
    finally:
        process.communicate()  # closes stdin, which ends it


def produce(file: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Run a recipe's stages and promote what they make."""
    from components import tracking
    from components.modalities import measuring_stage, stage_names
    from components.runlog import SilentLog
    from components.runner import run_stage, stage_folder
    from flows.promote import promote
    from flows.stage import open_recipe

    recipe = open_recipe(file, overrides)
    for stage in stage_names(recipe):
        run_stage(recipe, stage, SilentLog())
    run = tracking.start_run(recipe.name, "product", {})
    tracking.MlflowLog(run).file(stage_folder(recipe, measuring_stage(recipe)) / "metrics.json")
    made = promote(recipe, run, {}, SilentLog())
    return {"version": made.version, "changed": made.changed, "folder": str(made.folder)}


def pull(reference: str) -> dict[str, Any]:
    """As `kyara pull`; `said` are its lines."""
    from flows.pull import Reference
    from flows.pull import pull as pull_it

    said: list[str] = []
    pulled = pull_it(Reference.parse(reference), said.append)
    return {"version": pulled.version.number, "changed": pulled.changed, "folder": str(pulled.folder), "said": said}


def follow(reference: str) -> None:
    """As `kyara pull --follow`, beside whatever else is asked."""
    from flows.pull import Reference
    from flows.pull import follow as follow_it

    threading.Thread(target=follow_it, args=(Reference.parse(reference), 0.2), daemon=True).start()


def bento(reference: str) -> dict[str, str]:
    """As `kyara serve models:/…` before it serves; the labels of its Bento."""
    from flows.package import bento_labels
    from flows.pull import Reference
    from flows.pull import pull as pull_it
    from flows.replica import bento_of

    return bento_labels(bento_of(pull_it(Reference.parse(reference))))


def rollback(recipe: str, to: str | None = None) -> str:
    """As `kyara rollback`; the champion's number."""
    from flows.promote import rollback as roll_back

    return roll_back(recipe, to).version


def champion(modality: str, recipe: str) -> str | None:
    """The version that is pointed to here."""
    from components.artifact import pointed
    from components.errors import KyaraError
    from flows.promote import models_folder

    try:
        return pointed(models_folder(recipe, modality)).name
    except KyaraError:
        return None


def answer(modality: str, recipe: str, request: Mapping[str, Any]) -> str:
    """What the champion here answers, as a service would."""
    from components.artifact import pointed
    from components.modalities import product
    from flows.promote import models_folder

    made = product(modality)
    *_, done = made.load(pointed(models_folder(recipe, modality))).run(made.Request(**request))
    return done.content.decode()


def main(orders: IO[str], answers: IO[str]) -> None:
    """Do what the lines say until they end."""
    from components import modalities
    from components.contracts import Modality
    from components.errors import KyaraError
    from tests import stages

    stages.install(pytest.MonkeyPatch())
    names = ("dataset", "train", "evaluate")
    toy = Modality(
        name="toy",
        recipe="tests.contract.toy.stages:ToyRecipe",
        stages=MappingProxyType({name: f"tests.contract.toy.stages:{name}" for name in names}),
        product="tests.contract.toy.product",
    )
    modalities.MODALITIES = {**modalities.MODALITIES, "toy": toy}
    functions = {each.__name__: each for each in (produce, pull, follow, bento, rollback, champion, answer)}
    for line in orders:
        order = json.loads(line)
        try:
            told = {"value": functions[order["function"]](**order["values"])}
        except KyaraError as error:
            told = {"error": str(error)}
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    main(sys.stdin, answers)

"""A modality is a folder and a row: one of under 100 lines goes the whole way, and nothing else knows of it."""

import re
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest

from components import modalities
from components.contracts import Modality
from components.settings import settings
from flows import demo, report
from flows.foreground import produce_here
from flows.package import bento_folder, bento_labels
from flows.promote import rollback
from flows.server import Server
from tests.promoted import home

TOY = Modality(
    name="toy",
    recipe="tests.contract.toy.stages:ToyRecipe",
    stages=MappingProxyType({name: f"tests.contract.toy.stages:{name}" for name in ("dataset", "train", "evaluate")}),
    product="tests.contract.toy.product",
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.usefixtures("prefect_server")
def test_a_folder_and_a_row_go_through_everything(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Produce, promote, refuse nothing twice, roll back, package, serve and report."""
    monkeypatch.setattr(modalities, "MODALITIES", {**modalities.MODALITIES, "toy": TOY})
    with home(tmp_path_factory.mktemp("toy")) as folder:
        text, recipe = folder / "text.txt", folder / "letters.yaml"
        text.write_text("Banana", encoding="utf-8")
        recipe.write_text(f"name: letters\nmodality: toy\ndataset: {{source: {text}}}\n", encoding="utf-8")
        first = produce_here(str(recipe))
        assert first["mlflow.model_version"] == "1" and not any(first["skipped"].values())
        assert all(produce_here(str(recipe))["skipped"].values())
        second = produce_here(str(recipe), {"train": {"letters": 2}})
        assert second["skipped"] == {
            "dataset": True, "train": False, "evaluate": False, "promote": False, "package": False,
        }  # fmt: skip
        opened = modalities.load_recipe(recipe)
        assert bento_labels(second["bento.tag"])["mlflow_version"] == "2"
        assert not list(bento_folder(second["bento.tag"]).rglob("components/image/*.py"))
        assert rollback("letters").version == "1"
        with Server(first["bento.tag"], models=settings().models_dir) as running:
            running.wait_ready()
            answer = httpx.post(f"{running.url}/generate", json={"count": 2}, timeout=30, trust_env=False)
        assert (answer.status_code, answer.content, answer.headers["x-kyara-model"]) == (200, b"an", "letters:1")
        assert answer.headers["content-type"].startswith("text/plain")
        page = report.write({**demo.metrics(opened), **first}, opened, folder / "out")
        assert "letters:1" in page.read_text(encoding="utf-8")


def test_the_toy_is_small() -> None:
    lines = [line for file in (ROOT / "tests/contract/toy").glob("*.py") for line in file.read_text().splitlines()]
    assert len([line for line in lines if line.strip()]) < 100


@pytest.mark.parametrize("floor", ["components", "flows", "serving"])
def test_nobody_asks_which_modality_it_is(floor: str) -> None:
    """No `if modality == "image"` anywhere."""
    asked = re.compile(r"\b(if|elif|case|match)\b.*\bmodality\b *(==|!=|in\b|is\b|:)")
    files = [file for file in (ROOT / floor).rglob("*.py") if "web" not in file.parts]
    assert [
        f"{file}: {line}"
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if asked.search(line)
    ] == []

from pathlib import Path

import pytest
import yaml

from components.errors import RecipeError
from components.runner import stage_names
from components.settings import REPOSITORY, settings
from flows.stage import find_recipe, known_recipes, main, open_recipe, parse_overrides
from tests import stages


def test_overrides_are_nested_and_typed() -> None:
    found = parse_overrides(["train.rank=4", "train.judge=null", "distill.guidance=[3, 5]", "trigger=a=b"])
    assert found == {"train": {"rank": 4, "judge": None}, "distill": {"guidance": [3, 5]}, "trigger": "a=b"}


@pytest.mark.parametrize("wrong", ["train.rank", "=4", "train..rank=4", "trigger=[", "train=3 train.rank=4"])
def test_a_malformed_override_is_named(wrong: str) -> None:
    with pytest.raises(RecipeError, match="override"):
        parse_overrides(wrong.split())


def test_a_recipe_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert find_recipe("manga-tiny") == REPOSITORY / "flows" / "recipes" / "manga-tiny.yaml"
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\n", encoding="utf-8")
    assert find_recipe(str(mine)) == mine
    assert find_recipe("flows/recipes/anime-sd15.yaml").name == "anime-sd15.yaml"


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(
        RecipeError,
        match=r"Did you mean 'manga-tiny'\? Known: anime-sd15, anime-sdxl, control-pose, control-sketch, manga-tiny",
    ):
        find_recipe("manga-tyni")


@pytest.mark.parametrize("name", known_recipes())
def test_every_recipe_is_named_after_its_file(name: str) -> None:
    assert open_recipe(name).name == name


def test_a_stage_runs_alone_and_is_skipped_when_it_is_current(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.install(monkeypatch)
    recipe = str(stages.write_recipe(tmp_path, "alone"))
    assert main([recipe, "dataset"]) == 0
    assert (home / "artifacts" / "alone" / "dataset" / "manifest.json").is_file()
    assert main([recipe, "dataset"]) == 0
    assert "is current, nothing to do" in capsys.readouterr().err
    assert list(settings().runs.iterdir()) == []


def test_a_stage_whose_input_is_missing_says_which(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.install(monkeypatch)
    assert main([str(stages.write_recipe(tmp_path, "alone")), "train"]) == 1
    assert "stage 'train' needs 'dataset'" in capsys.readouterr().err


def test_dvc_has_the_stages_of_the_demo() -> None:
    found = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))
    recipe = open_recipe("manga-tiny")
    assert found["vars"] == [{"recipe": recipe.name}]
    assert tuple(found["stages"]) == stage_names(recipe)
    for name, stage in found["stages"].items():
        assert stage["cmd"] == f"python -m flows.stage ${{recipe}} {name}"
        # DVC would delete checkpoints and the manifest, and it need not keep a second copy.
        assert stage["outs"] == [{f"artifacts/${{recipe}}/{name}": {"persist": True, "cache": False}}]
        assert {"flows/recipes/${recipe}.yaml", "components"} < set(stage["deps"])
        assert set(recipe.step(name).sources().values()) <= set(stage["deps"])
        earlier = stage_names(recipe)[: stage_names(recipe).index(name)]
        assert {f"artifacts/${{recipe}}/{each}" for each in earlier} <= set(stage["deps"])

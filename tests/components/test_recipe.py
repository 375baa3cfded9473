from pathlib import Path

import pytest

from components.errors import RecipeError
from components.modalities import load_recipe, parse_recipe, stage_names


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


SOUND = {"name": "x", "trigger": "mika", "dataset": {"source": "pictures"}}


def test_a_stage_gets_its_section_and_what_is_shared(tmp_path: Path) -> None:
    recipe = load_recipe(_written(tmp_path, "name: x\nseed: 7\ntrigger: mika\ndataset: {source: here}\n"))
    dataset, distill = recipe.step("dataset"), recipe.step("distill")
    assert (dataset.seed, dataset.trigger, dataset.source) == (7, "mika", "here")
    assert (distill.trigger, distill.prompts) == ("mika", None)
    assert "judge" not in type(dataset).model_fields and "trigger" not in type(recipe.train).model_fields


def test_a_stage_that_is_left_out(tmp_path: Path) -> None:
    recipe = parse_recipe({**SOUND, "distill": None}, "here")
    assert stage_names(recipe) == ("dataset", "train", "evaluate")
    with pytest.raises(RecipeError, match=r"'x' has no stage 'distill'"):
        recipe.step("distill")
    with pytest.raises(RecipeError, match="train"):
        parse_recipe({**SOUND, "train": None}, "here")


def test_an_unknown_modality_and_an_unknown_judge_name_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"'video' is unknown.*image"):
        parse_recipe({**SOUND, "modality": "video"}, "here")
    recipe = parse_recipe({**SOUND, "prompts": "p", "judge": {"plugin": "nobody"}}, "here")
    with pytest.raises(RecipeError, match=r"'nobody' is unknown.*portraits"):
        recipe.step("train").plugins()


def test_three_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = "name: x\ntrigger: t\ndataset: {source: d}\ntrain: {rank: 0, epoch: 3}\ndistill: {mode: fast}\n"
    with pytest.raises(RecipeError) as caught:
        load_recipe(_written(tmp_path, text))
    assert len(caught.value.problems) == 3
    told = str(caught.value)
    assert "train.rank: 0 is wrong" in told
    assert "did you mean 'epochs'" in told
    assert "distill.mode: 'fast' is wrong" in told


def test_a_wrong_shared_value_is_one_mistake() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**SOUND, "seed": -1}, "here")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: [", "is not YAML"),
        ("- 1\n", "holds a list"),
        ("{}\n", "name: missing"),
        ("train: 3\nname: x\n", "train: 3"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_recipe(_written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml.*cannot be read"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_overrides_win_and_leave_the_rest(tmp_path: Path) -> None:
    recipe = load_recipe(
        _written(tmp_path, "name: x\ntrigger: t\ndataset: {source: d}\ntrain: {rank: 4, epochs: 3}\n"),
        {"train": {"rank": 8}},
    )
    assert (recipe.train.rank, recipe.train.epochs) == (8, 3)


def test_digest_changes_with_any_value_and_only_then() -> None:
    one, two = parse_recipe(SOUND, "here"), parse_recipe({**SOUND, "name": "y"}, "here")
    assert one.step("train").digest() == two.step("train").digest()
    assert one.step("train").digest() != parse_recipe({**SOUND, "seed": 1}, "here").step("train").digest()

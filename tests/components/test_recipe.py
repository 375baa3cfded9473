from pathlib import Path

import pytest

from components.errors import RecipeError
from components.recipe import ImageRecipe, load_recipe, parse_recipe


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shared_values_reach_every_step_that_does_not_override_them(tmp_path: Path) -> None:
    recipe = load_recipe(_written(tmp_path, "name: x\nseed: 7\ntrigger: mika\ntrain: {seed: 8}\n"))
    assert (recipe.dataset.seed, recipe.train.seed, recipe.distill.trigger) == (7, 8, "mika")


def test_three_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = "name: x\ntrain: {rank: 0, epoch: 3}\ndistill: {mode: fast}\n"
    with pytest.raises(RecipeError) as caught:
        load_recipe(_written(tmp_path, text))
    assert len(caught.value.problems) == 3
    told = str(caught.value)
    assert "train.rank: 0 is wrong" in told
    assert "did you mean 'epochs'" in told
    assert "distill.mode: 'fast' is wrong" in told


def test_a_wrong_shared_value_is_one_mistake_not_seven() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"name": "x", "seed": -1}, "here")
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
    recipe = load_recipe(_written(tmp_path, "name: x\ntrain: {rank: 4, epochs: 3}\n"), {"train": {"rank": 8}})
    assert (recipe.train.rank, recipe.train.epochs) == (8, 3)


def test_digest_changes_with_any_value_and_only_then() -> None:
    one, two = ImageRecipe(name="x"), ImageRecipe(name="y")
    assert one.train.digest() == two.train.digest()
    assert one.train.digest() != parse_recipe({"name": "x", "seed": 1}, "here").train.digest()

"""Which students `kyara bench quality` makes."""

from pathlib import Path

import pytest

from components.errors import RequestError
from components.image.recipe import ImageRecipe
from flows.bench import quality
from flows.stage import open_recipe


def test_plain_distillation_differs_from_the_recipe_in_nothing_else() -> None:
    recipe = open_recipe("manga-tiny")
    assert isinstance(recipe, ImageRecipe) and recipe.distill is not None
    variant = quality._variant("manga-tiny", {}, recipe, "plain")
    assert isinstance(variant, ImageRecipe) and variant.distill is not None
    plain = {"path_share": 0.0, "on_policy_from": 1.0, "adversarial": 0.0}
    assert variant.distill == recipe.distill.model_copy(update=plain)
    assert recipe.distill.path_share > 0.0
    assert variant.evaluate.count == 512
    assert variant.name != recipe.name


def test_unknown_modes_are_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="'fast' is unknown"):
        quality.run("manga-tiny", tmp_path / "quality.json", modes="fast")

"""THE table: modality -> recipe class, stages, product, as dotted strings. A new modality is a folder and a row."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from components.contracts import Modality, Product, Stage
from components.errors import RecipeError
from components.plugins import resolve
from components.recipe import Recipe, merge, parse, read_yaml

MODALITIES = MappingProxyType(
    {
        "image": Modality(
            name="image",
            recipe="components.image.recipe:ImageRecipe",
            stages=MappingProxyType(
                {
                    "dataset": "components.image.dataset.stage:prepare",
                    "train": "components.image.train:train",
                    "distill": "components.image.distillation.stage:distill",
                    "evaluate": "components.image.evaluation.stage:evaluate",
                }
            ),
            product="components.image.product",
        ),
        "control": Modality(
            name="control",
            recipe="components.image.control.recipe:ControlRecipe",
            stages=MappingProxyType(
                {
                    "dataset": "components.image.control.dataset:prepare",
                    "train": "components.image.control.train:train",
                    "evaluate": "components.image.control.evaluate:evaluate",
                }
            ),
            product="components.image.control.product",
            serves=False,
        ),
    }
)


def modality(name: str) -> Modality:
    """The row of that name. Raises RecipeError for an unknown one."""
    if name not in MODALITIES:
        raise RecipeError(f"modality {name!r} is unknown.", hint=f"Expected one of: {', '.join(MODALITIES)}.")
    return MODALITIES[name]


def stage_names(recipe: Recipe) -> tuple[str, ...]:
    """The stages that a recipe has, in order: those of its modality whose section is not null."""
    return tuple(name for name in modality(recipe.modality).stages if recipe.has(name))


def measuring_stage(recipe: Recipe) -> str:
    """The stage whose metrics decide: the last."""
    return stage_names(recipe)[-1]


def serves(recipe: Recipe) -> bool:
    """Whether a recipe's versions compete to be the champion that is packaged and served."""
    return modality(recipe.modality).serves


def stage_function(recipe: Recipe, name: str) -> Stage:
    """What runs a stage."""
    return cast(Stage, resolve(modality(recipe.modality).stages[name]))


def product(name: str) -> Product:
    """A modality's product."""
    return cast(Product, resolve(modality(name).product))


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe; `overrides` are nested mappings that win over the file.

    Raises:
        RecipeError: missing file, broken YAML, an unknown modality, or wrong values, all of them in one error.
    """
    return parse_recipe(merge(read_yaml(path), overrides or {}), str(path))


def parse_recipe(data: Mapping[str, Any], origin: str) -> Recipe:
    """A recipe from plain data. Raises RecipeError with every mistake."""
    kind: type[Recipe] = resolve(modality(str(data.get("modality", "image"))).recipe)
    return parse(kind, data, origin)

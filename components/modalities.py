"""THE table: modality -> stages -> functions, as dotted strings (`module:name`)."""

from importlib import import_module
from types import MappingProxyType
from typing import Any

from components.contracts import Modality
from components.errors import RecipeError

MODALITIES = MappingProxyType(
    {
        "image": Modality(
            name="image",
            recipe="components.recipe:ImageRecipe",
            generator="components.image.generator:ImageGenerator",
            stages=MappingProxyType(
                {
                    "dataset": "components.image.dataset.stage:prepare",
                    "train": "components.image.train:train",
                    "distill": "components.image.distillation:distill",
                    "evaluate": "components.image.evaluation.stage:evaluate",
                }
            ),
        ),
    }
)


def resolve(dotted: str) -> Any:
    """The object behind `module:name`."""
    module, _, name = dotted.partition(":")
    return getattr(import_module(module), name)


def modality(name: str) -> Modality:
    """The row of that name. Raises RecipeError for an unknown one."""
    if name not in MODALITIES:
        raise RecipeError(f"modality {name!r} is unknown.", hint=f"Expected one of: {', '.join(MODALITIES)}.")
    return MODALITIES[name]

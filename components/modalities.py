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
            generator="components.generation.image:ImageGenerator",
            stages=MappingProxyType(
                {
                    "dataset": "components.dataset.image:prepare",
                    "train": "components.training.image:train",
                    "distill": "components.distillation:distill",
                    "evaluate": "components.evaluation.image:evaluate",
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

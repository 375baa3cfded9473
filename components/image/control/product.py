"""What a ControlNet's stages make: a sealed folder that picture models of its base draw with. It serves nobody alone.

controlnet/        diffusers folder, float16; with control.json (its kind) and, for poses, the reader of key points
model.json         recipe, version, kind, base
metrics.json       what was measured for it
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Never

from components.artifact import Artifact, digest_of, open_sealed, replacing, seal, write_json
from components.contracts import METRICS
from components.errors import ModelError
from components.image.control.recipe import ControlRecipe
from components.image.generation.control import NETWORK
from components.recipe import Frozen, StepConfig

MEDIA_TYPE = "image/png"
REGISTERED = (NETWORK,)
REQUIREMENTS = ()
HEADLINES = (
    ("pose.px", "pose", "px"),
    ("sketch.f1", "sketch", "1"),
)
PICTURES = (
    ("compare", "evaluate", "grids/compare.png", 1),
    ("input", "dataset", "controls/*.png", 8),
    ("curves", "train", "curves.png", 1),
    ("samples", "train", "samples/*.png", 8),
)


class Request(Frozen):
    """Nothing: a ControlNet is asked through a picture model, by the mode `control`."""


def assemble(
    recipe: ControlRecipe, outputs: Mapping[str, Path], out: Path, *, version: str, parents: Mapping[str, str]
) -> Artifact:
    """Put network, metrics and card into one sealed folder; `out` appears whole or not at all. Raises ModelError."""
    origin = {**{stage: digest_of(folder) for stage, folder in outputs.items()}, **parents}
    card = {"name": recipe.name, "version": version, "modality": "control", "kind": recipe.kind, "parents": origin}
    if not (outputs["train"] / NETWORK).is_dir():
        raise ModelError(f"{str(outputs['train'])!r} holds no ControlNet.", hint="Run the train stage.")
    with replacing(out) as folder:
        folder.mkdir()
        shutil.copytree(outputs["train"] / NETWORK, folder / NETWORK)
        shutil.copyfile(outputs["evaluate"] / METRICS, folder / METRICS)
        write_json(folder / "model.json", card)
        seal(folder, origin["train"], origin, {"name": recipe.name, "version": version})
    return open_sealed(out)


def load(folder: Path, options: Mapping[str, Any] | None = None) -> Never:
    """Always raises ModelError: there is nothing to serve."""
    raise ModelError(
        f"{str(folder)!r} is a ControlNet, which draws nothing by itself.",
        hint="Ask a picture model with it: the mode `control`.",
    )


def measured_again(recipe: ControlRecipe, folder: Path) -> tuple[StepConfig, Mapping[str, Path]]:
    """How `evaluate` measures a registered folder as it measured the stages."""
    return recipe.step("evaluate"), {"train": folder}


def example(recipe: ControlRecipe) -> dict[str, Any]:
    """A request that a picture model answers with it."""
    return {"mode": "control", "prompt": "smile", "controls": [{"kind": recipe.kind, "from_picture": True}]}


def plugins(folder: Path) -> Sequence[str]:
    """None."""
    return ()

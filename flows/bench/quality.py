"""`kyara bench quality`: the demo's metrics on 512 prompts; on request for other ways to distil, side by side."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifact import open_sealed, write_json
from components.errors import ArtifactError, RequestError
from components.image.recipe import ImageRecipe
from components.recipe import Recipe, merge
from components.runlog import ConsoleLog
from components.runner import run_stage, stage_folder
from flows.demo import metrics as told_by
from flows.stage import open_recipe

WAYS: Mapping[str, Mapping[str, Any]] = {
    "lora": {"mode": "lora"},
    "full": {"mode": "full"},
    "plain": {"path_share": 0.0, "on_policy_from": 1.0, "adversarial": 0.0},
}
"""How a student may be made: an LCM-LoRA, all weights, or the paper's consistency distillation and nothing else (the
recipe's mode, no paths of the teacher, no discriminator)."""
MODES = {"current": (), "both": ("lora", "full"), "plain": ("plain",), "all": ("lora", "full", "plain")}
COUNTS = {"count": 512, "other_count": 64, "short_count": 256}


def run(
    recipe_name: str, out: Path, *, modes: str = "current", overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Measure and write `out` (JSON, the keys of report.json) and the grids beside it; interrupted, it resumes.

    Args:
        modes: `current`, the recipe's own way to distil; others are distilled beside it, and their metrics are there
            under `<way>.`, such as `plain.lcm4.adherence` (see `WAYS`).

    Raises:
        ArtifactError: the recipe has not been produced yet.
    """
    from components.tracking import data_digest

    if modes not in MODES:
        raise RequestError(f"modes {modes!r} is unknown.", hint=f"Expected one of: {', '.join(MODES)}.")
    recipe = open_recipe(recipe_name, overrides)
    if not isinstance(recipe, ImageRecipe) or recipe.distill is None:
        raise RequestError(f"recipe {recipe.name!r} has no distilled picture model.", hint="Name one that has.")
    own = recipe.distill.mode
    metrics: dict[str, Any] = {"recipe": recipe.name, "distill.mode": own, "dvc.digest": data_digest()}
    for way in dict.fromkeys((own, *MODES[modes])):
        variant = _variant(recipe_name, overrides or {}, recipe, way)
        measured = _measure(recipe, variant, way, out, shared=way == own)
        metrics |= measured if way == own else {f"{way}.{name}": value for name, value in measured.items()}
    write_json(out, metrics)
    return metrics


def _variant(name: str, overrides: Mapping[str, Any], recipe: Recipe, way: str) -> Recipe:
    """The recipe under another name, so that its own outputs stay as they are."""
    changes = {"name": f"{recipe.name}-quality-{way}", "distill": dict(WAYS[way])}
    return open_recipe(name, merge(merge({"evaluate": COUNTS}, overrides), changes))


def _measure(recipe: Recipe, variant: Recipe, way: str, out: Path, *, shared: bool) -> dict[str, Any]:
    """Take over what is sealed, distill where the way differs, evaluate."""
    taken = ("dataset", "train", "distill") if shared else ("dataset", "train")
    for stage in taken:
        _share(stage_folder(recipe, stage), stage_folder(variant, stage))
    for stage in ("distill", "evaluate"):
        if stage not in taken:
            with ConsoleLog(f"{stage} ({way})") as log:
                run_stage(variant, stage, log)
    folder = stage_folder(variant, "evaluate")
    _copy_pictures(folder, out.with_suffix("") / way)
    return told_by(variant)


def _share(source: Path, target: Path) -> None:
    """A sealed folder under a second path, by hard links where the disk has them."""
    try:
        wanted = open_sealed(source).digest
    except ArtifactError as error:
        raise ArtifactError(f"{str(source)!r} is not sealed.", hint="Run `kyara produce RECIPE` first.") from error
    if (target / "manifest.json").is_file() and open_sealed(target).digest == wanted:
        return
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _copy_pictures(folder: Path, target: Path) -> None:
    for file in sorted([*folder.glob("*.png"), *folder.glob("grids/*.png"), *folder.glob("plots/*.png")]):
        place = target / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)

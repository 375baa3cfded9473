"""`kyara bench quality`: the demo's metrics on 512 prompts; on request for both distill modes."""

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

MODES = {"current": (), "both": ("lora", "full")}
COUNTS = {"count": 512, "other_count": 64}


def run(
    recipe_name: str, out: Path, *, modes: str = "current", overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Measure and write `out` (JSON, the keys of report.json) and the grids beside it; interrupted, it resumes.

    Args:
        modes: `current`, the recipe's own distill mode; `both`: the other one is distilled too, and its metrics are
            there under `<mode>.`, such as `full.lcm4.adherence`.

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
    for mode in MODES[modes] or (own,):
        variant = _variant(recipe_name, overrides or {}, recipe, mode)
        measured = _measure(recipe, variant, mode, out, shared=mode == own)
        metrics |= measured if mode == own else {f"{mode}.{name}": value for name, value in measured.items()}
    write_json(out, metrics)
    return metrics


def _variant(name: str, overrides: Mapping[str, Any], recipe: Recipe, mode: str) -> Recipe:
    """The recipe under another name, so that its own outputs stay as they are."""
    changes = {"name": f"{recipe.name}-quality-{mode}", "distill": {"mode": mode}}
    return open_recipe(name, merge(merge({"evaluate": COUNTS}, overrides), changes))


def _measure(recipe: Recipe, variant: Recipe, mode: str, out: Path, *, shared: bool) -> dict[str, Any]:
    """Take over what is sealed, distill where the mode differs, evaluate."""
    taken = ("dataset", "train", "distill") if shared else ("dataset", "train")
    for stage in taken:
        _share(stage_folder(recipe, stage), stage_folder(variant, stage))
    for stage in ("distill", "evaluate"):
        if stage not in taken:
            with ConsoleLog(f"{stage} ({mode})") as log:
                run_stage(variant, stage, log)
    folder = stage_folder(variant, "evaluate")
    _copy_pictures(folder, out.with_suffix("") / mode)
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

"""`kyara demo`: the pipeline on the demo's recipe, one picture over HTTP, and a page that says what happened."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from components.artifact import write_bytes
from components.contracts import FIGURES
from components.errors import GateRefused
from components.image import promptset
from components.recipe import ImageRecipe
from components.runner import stage_folder, stage_names
from components.settings import settings
from flows.foreground import produce_here
from flows.stage import open_recipe


def run(recipe_name: str, out: Path) -> dict[str, Any]:
    """Produce, serve once, report; returns what report.json holds.

    Raises:
        GateRefused: the model is not good enough; the report is written all the same.
        KyaraError: a stage refused its input.
    """
    from flows import report as page

    console = Console(stderr=True)
    recipe = open_recipe(recipe_name)
    out = settings().base_dir / out
    folders = {stage: stage_folder(recipe, stage) for stage in stage_names(recipe)}
    try:
        result = produce_here(recipe_name)
    except GateRefused as error:
        written = page.write({**_figures(folders), "recipe": recipe.name, "refused": error.failures}, folders, out)
        console.print(f"\nThe gate refused the model. The report: {written}", highlight=False, soft_wrap=True)
        raise
    result["seconds.smoke"] = _ask_once(recipe, result["bento.tag"], out / "demo.png", console)
    report = {**_figures(folders), **result}
    written = page.write(report, folders, out)
    _say_what_next(console, report, written, out)
    return report


def _figures(folders: Mapping[str, Path]) -> dict[str, Any]:
    return {**dataset_figures(folders["dataset"]), **stage_figures(folders["evaluate"])}


def _ask_once(recipe: ImageRecipe, tag: str, file: Path, console: Console) -> float:
    """Serve the Bento, keep the picture that it draws over HTTP, stop it; seconds of all that."""
    from flows.server import smoke

    console.print(f"[bold]serve[/bold] {tag} on loopback, for one picture", highlight=False)
    started = time.perf_counter()
    answer = smoke(tag, {"prompt": first_prompt(recipe), "seed": recipe.seed})
    write_bytes(file, answer.png)
    return round(time.perf_counter() - started, 3)


def first_prompt(recipe: ImageRecipe) -> str:
    """The first prompt of the report set; without a set the trigger alone."""
    if recipe.evaluate.prompts is None:
        return recipe.trigger
    items = promptset.load(settings().resolve(recipe.evaluate.prompts), "report", 1)
    return items[0].prompt


def dataset_figures(folder: Path) -> dict[str, Any]:
    """dataset.files, dataset.kept and dataset.dropped of a dataset stage's output."""
    summary: Mapping[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {f"dataset.{key}": summary[key] for key in ("files", "kept", "dropped")}


def stage_figures(folder: Path) -> dict[str, Any]:
    """Everything that the evaluate stage measured."""
    found: dict[str, Any] = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    return found


def _say_what_next(console: Console, report: Mapping[str, Any], page: Path, out: Path) -> None:
    seconds = report["seconds.pipeline"]
    console.print(f"\nThe pipeline took {seconds // 60:.0f} min {seconds % 60:.0f} s. Look at:", highlight=False)
    for file in (page, out / "demo.png", out / "report.json"):
        console.print(f"  {file}", highlight=False, soft_wrap=True)
    console.print("\nWhat to type next:")
    for command, meaning in (
        ('kyara generate "smiling, blue hair, glasses"', "a picture of your own"),
        ("kyara serve", f"the model over HTTP, http://127.0.0.1:{settings().serve_port}"),
        ("kyara ui", "every run, curve and picture in Prefect and MLflow"),
    ):
        console.print(f"  [bold]{command}[/bold]  [dim]# {meaning}[/dim]", highlight=False)

"""`kyara demo`: the pipeline on the demo's recipe, one picture over HTTP, and a page that says what happened."""

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from components.artifact import write_bytes
from components.contracts import METRICS, SUMMARY
from components.errors import GateRefused, TrackingError
from components.modalities import measuring_stage, product
from components.recipe import Recipe
from components.runner import stage_folder, stage_outputs
from components.settings import settings
from flows.doctor import demo_forecast
from flows.foreground import produce_here
from flows.links import recipe_links
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
    console.print(demo_forecast(), highlight=False)
    try:
        result = produce_here(recipe_name)
    except GateRefused as error:
        written = page.write({**metrics(recipe), "recipe": recipe.name, "refused": error.failures}, recipe, out)
        console.print(f"\nThe gate refused the model. The report: {written}", highlight=False, soft_wrap=True)
        raise
    result["seconds.smoke"] = _ask_once(recipe, result["bento.tag"], out / "demo.png", console)
    with contextlib.suppress(TrackingError):  # the report does without
        result["pages"] = {link.what: link.url for link in recipe_links(recipe.name)}
    report = {**metrics(recipe), **result}
    written = page.write(report, recipe, out)
    _keep_gallery(recipe, out)
    _say_what_next(console, report, written, out)
    return report


def _keep_gallery(recipe: Recipe, out: Path) -> None:
    """What the report opens with, as a file of its own."""
    for _, stage, pattern, _ in product(recipe.modality).PICTURES[:1]:
        for file in stage_folder(recipe, stage).glob(pattern):
            write_bytes(out / file.name, file.read_bytes())


def metrics(recipe: Recipe) -> dict[str, Any]:
    """What the stages of a recipe left to tell: `<stage>.<key>` of each summary.json, and the last stage's metrics."""
    found: dict[str, Any] = {}
    for stage, folder in stage_outputs(recipe).items():
        if (folder / SUMMARY).is_file():
            summary: Mapping[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
            found |= {f"{stage}.{key}": value for key, value in summary.items()}
    measured = stage_folder(recipe, measuring_stage(recipe)) / METRICS
    return {**found, **json.loads(measured.read_text(encoding="utf-8"))}


def _ask_once(recipe: Recipe, tag: str, file: Path, console: Console) -> float:
    """Serve the Bento, keep the picture that it draws over HTTP, stop it; seconds of all that."""
    from flows.server import smoke

    console.print(f"[bold]serve[/bold] {tag} on loopback, for one picture", highlight=False)
    started = time.perf_counter()
    answer = smoke(tag, product(recipe.modality).example(recipe))
    write_bytes(file, answer.png)
    return round(time.perf_counter() - started, 3)


def _say_what_next(console: Console, report: Mapping[str, Any], page: Path, out: Path) -> None:
    seconds = report["seconds.pipeline"]
    console.print(f"\nThe pipeline took {seconds // 60:.0f} min {seconds % 60:.0f} s. Look at:", highlight=False)
    for file in (page, out / "demo.png", *sorted(out.glob("gallery*.png")), out / "report.json"):
        console.print(f"  {file}", highlight=False, soft_wrap=True)
    console.print("\nWhat to type next:")
    for command, meaning in (
        ('kyara generate "smiling, blue hair, glasses"', "a picture of your own"),
        ("kyara serve", f"the model over HTTP, http://127.0.0.1:{settings().serve_port}"),
        ("kyara ui", "every run, curve and picture in Prefect and MLflow"),
    ):
        console.print(f"  [bold]{command}[/bold]  [dim]# {meaning}[/dim]", highlight=False)

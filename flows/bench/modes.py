"""`kyara bench modes`: what every mode does to a picture, on unseen cases of the embedded world, with intervals.

A part is a function `measure(bench) -> Part` in a file of its own and a row of `PARTS`. Beside the JSON stands a page,
self-contained, with each part's inputs and outputs side by side.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from components.artifact import pointed, write_json
from components.contracts import Judge, RunLog
from components.errors import RequestError
from components.image.evaluation.metrics import Metrics
from components.image.families.bundle import Bundle
from components.image.generator import ImageGenerator
from components.image.judging import open_judge
from components.image.product import LORA, PromotedModel, read_model
from components.image.recipe import ImageRecipe
from components.plugins import resolve
from components.runlog import ConsoleLog
from components.settings import settings
from components.statistics import Bootstrap
from flows.promote import models_folder
from flows.stage import open_recipe

PARTS: Mapping[str, str] = {
    "edit": "flows.bench.parts.changes:edit",
    "animation": "flows.bench.parts.changes:animation",
    "img2img": "flows.bench.parts.changes:img2img",
    "invert": "flows.bench.parts.changes:invert",
    "control": "flows.bench.parts.control:measure",
}
"""What is measured, in order: `module:function`."""
COUNT = 48


@dataclass
class Part:
    """What a part found: its metrics, and sheets of pictures by title for the page."""

    metrics: Metrics = field(default_factory=Metrics)
    sheets: dict[str, Image.Image] = field(default_factory=dict)


@dataclass
class ModesBench:
    """What the parts share: the champion, the cases' number and seed, a folder for pictures, and who judges."""

    recipe: ImageRecipe
    folder: Path
    out: Path
    log: RunLog
    count: int = COUNT
    seed: int = 20_000

    @cached_property
    def promoted(self) -> PromotedModel:
        """The champion's folder and card."""
        return read_model(self.folder)

    @cached_property
    def generator(self) -> ImageGenerator:
        """The champion as users ask it."""
        return ImageGenerator.load(self.folder)

    @cached_property
    def teacher(self) -> Bundle:
        """The model that the champion was distilled from: base and LoRA, in plain torch."""
        from components.image.generation.latent import load_variant

        return load_variant(self.promoted.base, lora=self.promoted.folder / LORA)

    @cached_property
    def judge(self) -> Judge | None:
        """The recipe's."""
        config = self.recipe.judge
        folders = {} if config is None else {"judge": config.folder, "reference": config.reference}
        inputs = {name: settings().resolve(path) for name, path in folders.items() if path}
        return None if config is None else open_judge(config, inputs)

    @property
    def style(self) -> str:
        """What the champion draws, in the judge's word."""
        return "" if self.recipe.judge is None else self.recipe.judge.style

    def bootstrap(self, count: int) -> Bootstrap:
        """Intervals over `count` cases."""
        return Bootstrap(count, self.recipe.evaluate.bootstrap, self.recipe.seed)


def run(
    recipe_name: str, out: Path, *, modes: str = "current", overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Measure the champion's modes; write `out` (JSON) and the page beside it (HTML); interrupted, it resumes.

    Args:
        modes: parts by comma; `current`: all.
        overrides: `count`, the number of cases; the rest is the recipe's.

    Raises:
        RequestError: a part is unknown, or the recipe makes no pictures.
        ArtifactError: the recipe has no champion.
    """
    rest = dict(overrides or {})
    count = int(rest.pop("count", COUNT))
    recipe = open_recipe(recipe_name, rest)
    if not isinstance(recipe, ImageRecipe):
        raise RequestError(f"recipe {recipe.name!r} makes no pictures.", hint="Name one that does.")
    folder = pointed(models_folder(recipe.name, recipe.modality))
    metrics: dict[str, Any] = {"recipe": recipe.name, "cases": count}
    sheets: dict[str, Image.Image] = {}
    for name in _chosen(modes):
        with ConsoleLog(f"modes: {name}") as log:
            bench = ModesBench(recipe, folder, out.with_suffix("") / name, log, count)
            measure: Callable[[ModesBench], Part] = resolve(PARTS[name])
            part = measure(bench)
        metrics |= part.metrics.values
        sheets |= part.sheets
    metrics |= _soundness(metrics)
    write_json(out, metrics)
    write_page(out.with_suffix(".html"), metrics, sheets)
    return metrics


def _chosen(modes: str) -> list[str]:
    names = list(PARTS) if modes == "current" else [name.strip() for name in modes.split(",")]
    for name in names:
        if name not in PARTS:
            raise RequestError(f"part {name!r} of the modes is unknown.", hint=f"Known: {', '.join(PARTS)}.")
    return names


def _soundness(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The lowest of the parts' soundness ratios (`<part>.soundness_ratio`)."""
    found = [float(metrics[key]) for key in metrics if key.endswith(".soundness_ratio")]
    return {"modes.soundness_ratio": min(found)} if found else {}


def write_page(path: Path, metrics: Mapping[str, Any], sheets: Mapping[str, Image.Image]) -> None:
    """One self-contained page: the figures, then every part's pictures."""
    import base64
    import io

    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from components.artifact import write_bytes
    from flows.report import TEMPLATES, texts

    def inline(image: Image.Image) -> str:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()

    def ends(key: str) -> str:
        return " – ".join(f"{end:.3f}" for end in metrics.get(f"{key}.interval", ()))

    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    rows = [
        {"key": key, "value": f"{value:.3f}", "interval": ends(key), "note": metrics.get(f"{key}.name", "")}
        for key, value in numbers.items()
    ]
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.globals["t"] = texts()
    pictures = {title: inline(image) for title, image in sheets.items()}
    write_bytes(path, environment.get_template("modes.html").render(rows=rows, pictures=pictures).encode())

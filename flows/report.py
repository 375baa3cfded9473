"""The run as one self-contained page: what went in, what came out, and what it measures.

The recipe's goals say which metrics come first, the modality's product which pictures are shown.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.artifact import replacing, write_json
from components.modalities import product
from components.recipe import Goal, Recipe
from components.runner import stage_outputs

TEMPLATES = Path(__file__).parent / "templates"

Report = Mapping[str, Any]


def write(report: Report, recipe: Recipe, out: Path) -> Path:
    """Write out/report.json and out/report.html; returns the page.

    Args:
        report: flat dotted keys, such as `lora.adherence` and `lora.adherence.interval`.
        out: folder of the report.
    """
    write_json(out / "report.json", dict(report))
    page = out / "report.html"
    with replacing(page) as temporary:
        temporary.write_text(render(report, recipe), encoding="utf-8")
    return page


def render(report: Report, recipe: Recipe) -> str:
    """The page as text, everything inline. Stages that have not run leave their sections out."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folders = {stage: folder for stage, folder in stage_outputs(recipe).items() if folder.is_dir()}
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.globals["t"] = texts()
    return environment.get_template("report.html").render(
        report=report,
        tiles=_tiles(report, recipe),
        rows=[_row(key, goal, report) for key, goal in recipe.promote.goals.items() if key in report],
        seconds=_seconds(report),
        dropped=_dropped(folders),
        sections=_sections(recipe, folders),
    )


def texts() -> dict[str, dict[str, str]]:
    """Every text of the page by key: {"ja": …, "en": …}."""
    languages = {name: json.loads((TEMPLATES / f"{name}.json").read_text(encoding="utf-8")) for name in ("ja", "en")}
    return {key: {name: table[key] for name, table in languages.items()} for key in languages["ja"]}


def _tiles(report: Report, recipe: Recipe) -> list[dict[str, str]]:
    """The product's headlines, of those metrics that were measured."""
    found = [(key, text, unit) for key, text, unit in product(recipe.modality).HEADLINES if key in report]
    return [{"text": text, "value": _number(float(report[key]), unit)} for key, text, unit in found]


def _row(key: str, goal: Goal, report: Report) -> dict[str, Any]:
    value = float(report[key])
    interval = [float(end) for end in report.get(f"{key}.interval", ())]
    reached = goal.reached(value)
    return {
        "key": key,
        "value": _number(value, goal.unit),
        "note": str(report.get(f"{key}.name", "")),
        "interval": " – ".join(_number(end, "") for end in interval),
        "goal": _bounds(goal),
        # An interval that holds the bound says nothing for certain: such a goal is neither ticked nor crossed.
        "reached": reached if all(goal.reached(end) is reached for end in interval) else None,
    }


def _bounds(goal: Goal) -> str:
    bounds = [
        f"{sign} {_number(end, goal.unit)}" for sign, end in (("≥", goal.min), ("≤", goal.max)) if end is not None
    ]
    return ", ".join(bounds)


def _number(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.0f} %"
    digits = {"ms": 0, "×": 1, "dB": 1, "1": 0}.get(unit, 3)
    return f"{value:.{digits}f}" + ("" if unit in ("", "1") else f" {unit}")


def _seconds(report: Report) -> list[tuple[str, float]]:
    found = [
        (key.removeprefix("seconds."), float(value)) for key, value in report.items() if key.startswith("seconds.")
    ]
    return [(name, value) for name, value in found if name not in ("pipeline", "orchestration")]


def _dropped(folders: Mapping[str, Path]) -> list[dict[str, str]]:
    path = folders.get("dataset", Path()) / "dropped.json"
    found: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return found


def _sections(recipe: Recipe, folders: Mapping[str, Path]) -> dict[str, list[dict[str, str]]]:
    """Pictures by title key, in the product's order; a title without pictures is left out."""
    sections: dict[str, list[dict[str, str]]] = {}
    for title, stage, pattern, most in product(recipe.modality).PICTURES:
        if stage in folders:
            paths = sorted(folders[stage].glob(pattern), key=lambda path: (len(path.name), path.name))[:most]
            sections.setdefault(title, []).extend(_pictures(paths))
    return {title: pictures for title, pictures in sections.items() if pictures}


def _pictures(paths: Sequence[Path]) -> list[dict[str, str]]:
    return [{"name": path.stem, "data": base64.b64encode(path.read_bytes()).decode()} for path in paths]

"""The run as one self-contained page: what went in, what came out, and what it measures."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifact import replacing, write_json

TEMPLATES = Path(__file__).parent / "templates"
INPUT_PICTURES = 16

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """What a figure should reach: at least or at most `bound`; `stretch` is the wish beyond it."""

    key: str
    bound: float | None = None
    at_least: bool = True
    stretch: float | None = None
    unit: str = ""

    def reached(self, value: float) -> bool | None:
        """Whether `value` reaches the bound; None without one."""
        if self.bound is None:
            return None
        return value >= self.bound if self.at_least else value <= self.bound


GOALS = (
    Goal("judge.mean_accuracy", 0.97),
    Goal("vae.psnr", 28, unit="dB"),
    Goal("base.adherence", 0.90, stretch=0.97),
    Goal("lora.adherence"),
    Goal("lora.adherence_drop", 0.03, at_least=False),
    Goal("lora.style", 0.95),
    Goal("lora.copying", 0.02, at_least=False),
    Goal("lcm4.adherence"),
    Goal("lcm4.style"),
    Goal("fidelity.adherence_ratio", 0.97),
    Goal("fidelity.kid_gap", 0.05, at_least=False),
    Goal("speed.baseline_ms", unit="ms"),
    Goal("speed.served_ms", unit="ms"),
    Goal("speed.algorithm", unit="×"),
    Goal("speed.engine", unit="×"),
    Goal("speed.total", 12, stretch=20, unit="×"),
)


def write(report: Report, folders: Mapping[str, Path], out: Path) -> Path:
    """Write out/report.json and out/report.html; returns the page.

    Args:
        report: flat dotted keys, such as `lora.adherence` and `lora.adherence.interval`.
        folders: sealed output of each stage by name; a missing one leaves its section out.
        out: folder of the report.
    """
    write_json(out / "report.json", dict(report))
    page = out / "report.html"
    with replacing(page) as temporary:
        temporary.write_text(render(report, folders), encoding="utf-8")
    return page


def render(report: Report, folders: Mapping[str, Path]) -> str:
    """The page as text, everything inline."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.globals["t"] = texts()
    return environment.get_template("report.html").render(
        report=report,
        rows=[_row(goal, report) for goal in GOALS if goal.key in report],
        seconds=_seconds(report),
        kept=_pictures(_images(folders, "dataset", "images/*.png")[:INPUT_PICTURES]),
        dropped=_dropped(folders),
        curves=_pictures(_images(folders, "train", "curves.png") + _images(folders, "distill", "curves.png")),
        samples=_pictures(_images(folders, "train", "samples/*.png")),
        compare=_pictures(_images(folders, "evaluate", "grids/compare.png")),
        grids=_pictures(_images(folders, "evaluate", "xy.png") + _images(folders, "evaluate", "plots/*.png")),
    )


def texts() -> dict[str, dict[str, str]]:
    """Every text of the page by key: {"ja": …, "en": …}."""
    languages = {name: json.loads((TEMPLATES / f"{name}.json").read_text(encoding="utf-8")) for name in ("ja", "en")}
    return {key: {name: table[key] for name, table in languages.items()} for key in languages["ja"]}


def _row(goal: Goal, report: Report) -> dict[str, Any]:
    value = float(report[goal.key])
    return {
        "key": goal.key,
        "value": _number(value, goal.unit),
        "interval": " – ".join(_number(float(end), "") for end in report.get(f"{goal.key}.interval", ())),
        "goal": "" if goal.bound is None else f"{'≥' if goal.at_least else '≤'} {_number(goal.bound, goal.unit)}",
        "reached": goal.reached(value),
    }


def _number(value: float, unit: str) -> str:
    digits = {"ms": 0, "×": 1, "dB": 1}.get(unit, 3)
    return f"{value:.{digits}f}{' ' if unit else ''}{unit}"


def _seconds(report: Report) -> list[tuple[str, float]]:
    found = [
        (key.removeprefix("seconds."), float(value)) for key, value in report.items() if key.startswith("seconds.")
    ]
    return [(name, value) for name, value in found if name not in ("pipeline", "orchestration")]


def _dropped(folders: Mapping[str, Path]) -> list[dict[str, str]]:
    path = folders.get("dataset", Path()) / "dropped.json"
    found: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return found


def _images(folders: Mapping[str, Path], stage: str, pattern: str) -> list[Path]:
    return (
        sorted(folders[stage].glob(pattern), key=lambda path: (len(path.name), path.name)) if stage in folders else []
    )


def _pictures(paths: Sequence[Path]) -> list[dict[str, str]]:
    return [{"name": path.stem, "data": base64.b64encode(path.read_bytes()).decode()} for path in paths]

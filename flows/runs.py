"""A run's id, its folder and its files: runs/<id>/{config,result,heartbeat}.json and logs/train_<id>.log."""

import re
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

from components.artifact import write_json
from components.errors import RequestError
from components.recipe import Recipe
from components.settings import settings

PATTERN = re.compile(r"\d{8}_\d{6}_[0-9a-f]{4}")


def new_run_id(when: datetime | None = None, suffix: str | None = None) -> str:
    """YYYYMMDD_HHMMSS_xxxx, local time, so that names sort by age."""
    return f"{(when or datetime.now()):%Y%m%d_%H%M%S}_{suffix or secrets.token_hex(2)}"


def check_run_id(run_id: str) -> str:
    """The id itself. Raises RequestError: it becomes the name of a folder."""
    if not PATTERN.fullmatch(run_id):
        raise RequestError(
            f"run id {run_id!r} is malformed.", hint="Expected YYYYMMDD_HHMMSS_xxxx, such as 20250131_180000_0af3."
        )
    return run_id


def run_folder(run_id: str) -> Path:
    """Where a run keeps its configuration and result."""
    return settings().runs / run_id


def log_file(run_id: str) -> Path:
    """The run's log."""
    return settings().logs / f"train_{run_id}.log"


def write_config(run_id: str, recipe: Recipe) -> Path:
    """runs/<id>/config.json: the recipe with every default spelled out."""
    file = run_folder(run_id) / "config.json"
    write_json(file, recipe.model_dump(mode="json"))
    return file


def write_result(run_id: str, result: dict[str, Any]) -> None:
    """runs/<id>/result.json: what the run made and how long it took."""
    write_json(run_folder(run_id) / "result.json", result)

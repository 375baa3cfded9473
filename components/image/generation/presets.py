"""Named settings that a user saves: a part of a request, without pictures, as JSON in the settings' state folder."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.artifact import write_json
from components.errors import RequestError
from components.image.generation.modes import DEFAULT, MODES, parse
from components.image.generation.pictures import holds_picture
from components.settings import settings

_NAME = re.compile(r"\w[\w .-]{0,62}\w|\w")


def save(name: str, values: Mapping[str, Any]) -> Path:
    """Keep `values` under a name, over what was there.

    Raises:
        RequestError: a name that is no file name, or values that no request takes.
    """
    if not values:
        raise RequestError("the preset holds nothing.", hint="Give it settings: --set steps=4.")
    _check(values)
    path = _file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(values))
    return path


def listed() -> dict[str, dict[str, Any]]:
    """Saved settings by name."""
    return {path.stem: load(path.stem) for path in sorted(settings().presets.glob("*.json"))}


def load(name: str) -> dict[str, Any]:
    """What was saved under a name. Raises RequestError, which lists the known names."""
    try:
        values = json.loads(_file(name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(path.stem for path in sorted(settings().presets.glob("*.json"))) or "none yet"
        raise RequestError(f"preset {name!r} is unknown.", hint=f"Known: {known}.") from error
    except (OSError, ValueError) as error:
        raise RequestError(f"preset {name!r} cannot be read: {error}.", hint="Save it again.") from error
    if not isinstance(values, dict):
        raise RequestError(f"preset {name!r} holds no settings.", hint="Save it again.")
    return values


def delete(name: str) -> None:
    """Forget a preset. Raises RequestError for an unknown one."""
    load(name)
    _file(name).unlink()


def _file(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"preset name {name[:80]!r} is wrong.", hint="Expected up to 64 letters, digits, blanks, dots or dashes."
        )
    return settings().presets / f"{name}.json"


def _check(values: Mapping[str, Any]) -> None:
    """Raise RequestError for what no request of this mode takes; a preset leaves the prompt and the pictures open."""
    mode = MODES.get(str(values.get("mode", DEFAULT)))
    fields = mode.request.model_fields if mode else {}
    pictures = [name for name in values if name in fields and holds_picture(fields[name])]
    if pictures:
        raise RequestError(f"a preset holds no pictures: {', '.join(pictures)}.", hint="Give them with each request.")
    try:
        parse(values)
    except RequestError as error:
        cause = error.__cause__
        if not isinstance(cause, ValidationError) or any({*each["loc"][:1]} & values.keys() for each in cause.errors()):
            raise

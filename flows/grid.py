"""An XY grid: any two settings against each other, one picture with labels."""

import copy
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel

from components.artifact import write_bytes
from components.errors import RequestError
from components.image.generation.canvas import png
from components.image.generation.modes import parse
from components.image.generation.request import GenerateRequest
from components.image.generator import ImageGenerator
from components.image.sheets import sheet
from flows.stage import parse_overrides

MOST = 100


def axis(text: str | None) -> tuple[str, list[Any]]:
    """`steps=1,2,4` as a setting and its values, which are YAML; None: one value of nothing.

    Raises:
        RequestError: no setting or no values. RecipeError: a value that is no YAML.
    """
    if text is None:
        return "", [None]
    name, separator, values = text.partition("=")
    if not separator or not name.strip() or not all(value.strip() for value in values.split(",")):
        raise RequestError(f"axis {text!r} is wrong.", hint="Expected setting=value,value: steps=1,2,4.")
    return name.strip(), values.split(",")


def draw(generator: ImageGenerator, base: GenerateRequest, x: str | None, y: str | None, out: Path) -> Image.Image:
    """All pictures of two axes as one, written to `out`; every cell has the same seed unless an axis says otherwise.

    Raises:
        RequestError: a setting or a value that no request takes, before anything is drawn; too many cells.
    """
    across, down = axis(x), axis(y)
    if len(across[1]) * len(down[1]) > MOST:
        raise RequestError(f"{len(across[1])}x{len(down[1])} pictures are too many: expected at most {MOST}.")
    values = _values(base)
    requests = [[_with(values, (across[0], over), (down[0], under)) for over in across[1]] for under in down[1]]
    rows = [[_opened(generator, each) for each in row] for row in requests]
    made = sheet(rows, _labels(across), _labels(down), widths=(32, 512))
    write_bytes(out, png(made))
    return made


def _opened(generator: ImageGenerator, request: GenerateRequest) -> Image.Image:
    with Image.open(io.BytesIO(generator.answer(request).content)) as image:
        return image.convert("RGB")


def _values(base: GenerateRequest) -> dict[str, Any]:
    """A request's fields that were given, with a seed."""
    given: dict[str, Any] = {name: _plain(getattr(base, name)) for name in base.model_fields_set}
    return {"seed": 0, **given, "mode": base.mode, "n": 1}


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else copy.deepcopy(value)


def _with(values: Mapping[str, Any], *settings: tuple[str, Any]) -> GenerateRequest:
    """The request with other settings; `loras.name` is the weight of one LoRA."""
    merged = copy.deepcopy(dict(values))
    for name, value in settings:
        if name:
            _merge(merged, parse_overrides([f"{name}={value}"]))
    return parse(merged)


def _merge(target: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def _labels(found: tuple[str, Sequence[Any]]) -> list[str]:
    name, values = found
    return [f"{name} {str(value).strip()}" for value in values] if name else []

"""From the command line to a request: what a preset, a picture's metadata, options and overrides say, in that order."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args

from pydantic import BaseModel

from components.artifact import write_bytes
from components.contracts import Done
from components.errors import RequestError
from components.image.generation.metadata import read_png, read_request
from components.image.generation.modes import DEFAULT, MODES, parse
from components.image.generation.pictures import Picture, holds_picture, read_picture
from components.image.generation.presets import load
from components.image.generation.request import GenerateRequest
from flows.stage import parse_overrides


def asked(
    options: Mapping[str, Any], *, preset: str | None = None, picture: Path | None = None, overrides: Sequence[str] = ()
) -> GenerateRequest:
    """The request.

    Args:
        options: fields by name; None: not given. Pictures are paths.
        preset: the name of saved settings.
        picture: a PNG whose own request is the base.
        overrides: `field=value` for any field of any mode.

    Raises:
        RequestError: what cannot be read, or is no request.
    """
    given = {name: value for name, value in options.items() if value is not None}
    given |= parse_overrides(overrides)
    base = {**(load(preset) if preset else {}), **(_of(picture) if picture else {})}
    mode = str(given.get("mode") or _implied(given) or base.get("mode", DEFAULT))
    if mode not in MODES:
        return parse({"mode": mode})
    known = MODES[mode].request.model_fields
    other = ("mask", "box") if {"mask", "box"} & given.keys() else ()  # one replaces the other
    kept = {name: value for name, value in base.items() if name in known and name not in other}
    opened = {name: _opened(value, known[name].annotation) for name, value in given.items() if name in known}
    return parse({**kept, **given, **opened, "mode": mode})


def corners(text: str) -> list[int]:
    """`8,8,40,32` as four numbers. Raises RequestError."""
    try:
        left, top, right, bottom = (int(part) for part in text.split(","))
    except ValueError as error:
        raise RequestError(f"box {text!r} is wrong.", hint="Expected left,top,right,bottom: 8,8,40,32.") from error
    return [left, top, right, bottom]


def changes_of(pairs: Sequence[str]) -> dict[str, str]:
    """`expression=frown` and `red hat=blue cap` as a mapping. Raises RequestError."""
    found = {}
    for pair in pairs:
        name, separator, value = (part.strip() for part in pair.partition("="))
        if not (name and separator and value):
            raise RequestError(f"change {pair!r} is wrong.", hint="Expected attribute=value: expression=frown.")
        found[name] = value
    return found


def key_frame(text: str) -> dict[str, Any]:
    """`expression=frown,seed=9` as a key frame's fields; without `=` it is another prompt. Raises RequestError."""
    if "=" not in text:
        return {"prompt": text}
    change = changes_of(text.split(","))
    seed = change.pop("seed", None)
    if seed is not None and not seed.isdecimal():
        raise RequestError(f"seed {seed!r} of the key frame {text!r} is no number.")
    return {"change": change, **({} if seed is None else {"seed": int(seed)})}


def settings_of(picture: Path) -> dict[str, Any]:
    """What of a picture's own request a preset takes: not its prompt, its seed or its pictures."""
    values = _of(picture)
    fields = MODES.get(str(values.get("mode")), MODES[DEFAULT]).request.model_fields
    left = ("prompt", "seed", "raw", "n", *(name for name, field in fields.items() if holds_picture(field)))
    return {name: value for name, value in values.items() if name in fields and name not in left}


def other_model(picture: Path, done: Done) -> str:
    """A sentence where a picture was drawn by another model than the one that answered; else nothing."""
    before, now = (facts.get("model_digest") for facts in (read_png(picture.read_bytes()), done.metadata))
    return "" if before in (None, now) else f"{picture} was drawn by another model; this one draws it otherwise."


def write(done: Done, out: Path) -> list[Path]:
    """Write an answer's files; a batch's are named `<out>-<seed>`, and the suffix is the media type's."""
    if done.media_type != "application/zip":
        path = out.with_suffix(f".{done.media_type.rpartition('/')[2]}")
        write_bytes(path, done.content)
        return [path]
    paths = []
    with zipfile.ZipFile(io.BytesIO(done.content)) as archive:
        for name in archive.namelist():
            paths.append(out.with_name(f"{out.stem}-{name}"))
            write_bytes(paths[-1], archive.read(name))
    return paths


def _implied(given: Mapping[str, Any]) -> str | None:
    """The mode that options stand for, where none is named."""
    if "controls" in given:
        return "control"
    if "scale" in given:
        return "upscale"
    if {"mask", "box"} & given.keys():
        return "inpaint"
    return "image_to_image" if "image" in given else None


def _of(picture: Path) -> dict[str, Any]:
    try:
        return read_request(picture.read_bytes())
    except OSError as error:
        raise RequestError(f"{str(picture)!r} cannot be read: {error.strerror or error}.") from error


def _opened(value: Any, annotation: Any) -> Any:
    """Paths as the pictures in them, wherever a field of this type holds one: in nested objects and lists too."""
    kinds = {annotation, *get_args(annotation)}
    if isinstance(value, Path | str):
        return read_picture(Path(value)) if Picture in kinds else value
    if isinstance(value, Mapping):
        nested = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        fields = nested[0].model_fields if nested else {}
        return {key: _opened(each, fields[key].annotation) if key in fields else each for key, each in value.items()}
    if isinstance(value, list):
        inner = {each for kind in kinds for each in get_args(kind)} | kinds
        return [_opened(each, Union[tuple(inner)]) for each in value]  # noqa: UP007
    return value

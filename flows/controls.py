"""`--control` of the command line: `sketch=lines.png`, `pose-from=photo.png:0.7`, `pose=0.4,0.5,1.2,-10,mirror`.

A name that is neither is a ControlNet's (KYARA_CONTROLNETS), which is shown the picture as it is.
"""

import re
from pathlib import Path
from typing import Any

from components.errors import RequestError

_WEIGHTED = re.compile(r"(?P<source>.+):(?P<weight>\d+(?:\.\d+)?)")
_NUMBERS = re.compile(r"-?[\d.]+(?:,(?:-?[\d.]+|mirror))*")
_KINDS = ("sketch", "pose")
_POSE = ("x", "y", "scale", "tilt")


def parse_control(text: str) -> dict[str, Any]:
    """One option as a request's control, its picture as a path. Raises RequestError."""
    name, separator, rest = text.partition("=")
    if not separator or not name or not rest:
        hint = "Expected KIND=SOURCE[:WEIGHT]: sketch=lines.png, pose-from=photo.png:0.7 or pose=0.4,0.5,1.2,-10."
        raise RequestError(f"control {text!r} is wrong.", hint=hint)
    found = _WEIGHTED.fullmatch(rest)
    source, weight = (found["source"], {"weight": float(found["weight"])}) if found else (rest, {})
    kind = name.removesuffix("-from")
    if kind not in _KINDS:
        return {"kind": "picture", "model": name, "image": Path(source), **weight}
    if kind == name == "pose" and _NUMBERS.fullmatch(source):
        return {"kind": "pose", "pose": _pose(source), **weight}
    return {"kind": kind, "from_picture": kind != name, "image": Path(source), **weight}


def _pose(text: str) -> dict[str, Any]:
    parts = text.split(",")
    mirror = {"mirror": True} if "mirror" in parts else {}
    try:
        numbers = [float(part) for part in parts if part != "mirror"]
        values = dict(zip(_POSE, numbers, strict=False))
        position = (values.pop("x"), values.pop("y"))
        if len(numbers) > len(_POSE):
            raise ValueError("too many numbers")
    except (ValueError, KeyError) as error:
        hint = "Expected x,y[,scale[,tilt]][,mirror], x and y as shares of the picture: 0.4,0.5,1.2,-10."
        raise RequestError(f"pose {text!r} is wrong.", hint=hint) from error
    return {"position": position, **values, **mirror}

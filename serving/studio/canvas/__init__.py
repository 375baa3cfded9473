"""Our one component: a canvas to draw lines, to brush a mask over a picture, and to place a head."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from components.errors import RequestError
from serving.studio.sources import of_data_url
from serving.studio.words import Words

HERE = Path(__file__).parent
Tool = Literal["brush", "sketch", "pose"]
LABELS = ("pen", "eraser", "size", "undo", "clear", "canvas")
_DRAWING = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+=*")


@dataclass(frozen=True)
class Sheet:
    """What is drawn on. `width`, `height`: pixels of what is drawn; `background`: a data URL below it.

    `points`: the head of a pose as shares of the sides (see `components.image.generation.control.pose`).
    """

    tool: Tool
    width: int
    height: int
    background: str | None = None
    points: Sequence[Sequence[float]] = ()
    radii: Sequence[float] = ()
    tilt: float = 0.0


def canvas(sheet: Sheet, say: Words, key: str, moved: Callable[[], None] | None = None) -> bytes | None:
    """Show the canvas; what is drawn on it as a PNG file, None where it is empty.

    brush   white where the picture is drawn anew, on black
    sketch  black lines on white
    pose    nothing is drawn: `moved` is called when the head was moved (see `position`)

    Raises RequestError where the browser sent no drawing of ours.
    """
    labels = {name: say(f"canvas.{name}") for name in LABELS} | {"help": say(f"canvas.help.{sheet.tool}")}
    data = {**vars(sheet), "labels": labels}
    mounted = _component()(data=data, key=key, on_drawing_change=_nothing, on_position_change=moved or _nothing)
    return drawing(mounted.get("drawing"))


def drawing(told: Any) -> bytes | None:
    """What a browser sent as a PNG file. Raises RequestError for anything else."""
    if told is None:
        return None
    if not isinstance(told, str) or not _DRAWING.fullmatch(told):
        raise RequestError("the drawing cannot be read.", hint="Draw it again.")
    return of_data_url(told)


def position(mounted: Any) -> tuple[float, float] | None:
    """Where the head was put, shares of the sides; None where it was not, or by no canvas of ours."""
    told = mounted.get("position") if isinstance(mounted, Mapping) else None
    if not isinstance(told, Sequence) or len(told) != 2 or not all(isinstance(each, int | float) for each in told):
        return None
    x, y = (min(1.0, max(0.0, float(each))) for each in told)
    return x, y


def _component() -> Any:
    """The component; it may be registered again in every run."""
    return st.components.v2.component(
        "kyara_canvas",
        html='<div class="k-canvas"></div>',
        css=(HERE / "canvas.css").read_text(encoding="utf-8"),
        js=(HERE / "canvas.js").read_text(encoding="utf-8"),
    )


def _nothing() -> None:
    """A state of the component is kept only where it has a callback."""

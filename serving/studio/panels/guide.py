"""Guide: lines or a pose say where, the prompt says the rest."""

from typing import Any

import streamlit as st

from components.errors import RequestError
from components.image.generation.control.pose import Pose
from serving.studio import drawing, fields, sources, state
from serving.studio.canvas import Sheet, canvas, position
from serving.studio.page import Studio

PANEL = "guide"
KINDS = ("sketch", "pose")
CANVAS = "guide.once_canvas"


def show(studio: Studio) -> None:
    """The canvas beside the picture that follows it."""
    say = studio.say
    state.default(PANEL, kind="sketch", weight=1.0, x=0.5, y=0.5, scale=1.0, tilt=0, mirror=False)
    controls, canvas_place, stage = st.columns([4, 4, 4], gap="large")
    with controls:
        st.segmented_control(
            say("guide.kind"), KINDS, key=f"{PANEL}.kind", required=True, width="stretch",
            format_func=lambda each: say(f"guide.{each}"),
        )  # fmt: skip
        kind = str(state.get(PANEL, "kind"))
        there = kind in studio.model.controls
        if not there:
            st.info(say("guide.none", command=f"kyara produce control-{kind}"), icon=":material/school:")
        typed = fields.prompt(studio, PANEL)
    with canvas_place:
        control = _sketch(studio) if kind == "sketch" else _pose(studio)
    with controls:
        weight = st.slider(say("guide.weight"), 0.0, 2.0, step=0.05, key=f"{PANEL}.weight")
        fields.details(studio, PANEL)
        go = st.button(
            say("draw.go"), type="primary", width="stretch", key="guide.once_go",
            disabled=not (there and typed and control),
        )  # fmt: skip
    with stage:
        if go and control:
            controls_sent = [{"kind": kind, "weight": weight, **control}]
            drawing.draw(studio, PANEL, {"mode": "control", "controls": controls_sent, **fields.shared(studio, PANEL)})
        drawing.show(studio, PANEL, "guide.empty")


def _sketch(studio: Studio) -> dict[str, Any] | None:
    """Lines that were drawn, or a file of them; None: nothing yet."""
    side = studio.model.side
    try:
        lines = canvas(Sheet("sketch", max(side, 256), max(side, 256)), studio.say, CANVAS)
    except RequestError as error:
        studio.tell(error)
        lines = None
    with st.expander(studio.say("guide.otherwise"), icon=":material/upload:"):
        given = st.file_uploader(studio.say("guide.file"), ["png", "jpg", "jpeg", "webp"], key="guide.once_file")
        found = st.checkbox(studio.say("guide.photo"), key=f"{PANEL}.from_picture")
    if given is not None:
        return {"image": sources.text(given.getvalue()), "from_picture": found}
    return None if lines is None else {"image": sources.text(lines)}


def _pose(studio: Studio) -> dict[str, Any]:
    """A head by numbers, which the canvas shows and moves."""
    say, side = studio.say, studio.model.side
    place = st.container()
    one, two = st.columns(2)
    one.slider(say("guide.x"), 0.0, 1.0, step=0.01, key=f"{PANEL}.x")
    two.slider(say("guide.y"), 0.0, 1.0, step=0.01, key=f"{PANEL}.y")
    one.slider(say("guide.scale"), 0.4, 1.8, step=0.05, key=f"{PANEL}.scale")
    two.slider(say("guide.tilt"), -60, 60, key=f"{PANEL}.tilt")
    st.checkbox(say("guide.mirror"), key=f"{PANEL}.mirror")
    pose = asked()
    face = pose.keypoints()
    with place:
        sheet = Sheet("pose", side, side, points=face.points.tolist(), radii=face.radii, tilt=face.tilt)
        canvas(sheet, say, CANVAS + "_pose", moved)
    return {"pose": pose.model_dump(mode="json")}


def asked() -> Pose:
    """The pose of the sliders."""
    values = {name: state.get(PANEL, name) for name in ("scale", "tilt", "mirror")}
    return Pose(position=(state.get(PANEL, "x"), state.get(PANEL, "y")), **values)


def moved() -> None:
    """The head was moved on the canvas: the sliders follow. A callback."""
    if (found := position(st.session_state.get(CANVAS + "_pose"))) is not None:
        state.put(PANEL, x=round(found[0], 2), y=round(found[1], 2))

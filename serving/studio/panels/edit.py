"""Change a picture: a place in it, what it shows, all of it, or its size."""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from components.errors import RequestError
from serving.studio import drawing, fields, sources, state
from serving.studio.canvas import Sheet, canvas
from serving.studio.page import Studio

PANEL = "edit"
UNCHANGED = ""


def show(studio: Studio) -> None:
    """The picture before and after, beside what shall change."""
    say = studio.say
    state.default(PANEL, mode="inpaint")
    controls, stage = st.columns([4, 8], gap="large")
    with controls:
        picture = sources.choose(studio, PANEL)
        st.segmented_control(
            say("edit.tool"), list(TOOLS), key=f"{PANEL}.mode", required=True, width="stretch",
            format_func=lambda each: say(f"edit.{each}"),
        )  # fmt: skip
    if picture is None:
        with stage:
            studio.blank("edit.empty")
        return
    with stage:
        before, after = st.columns(2, gap="medium")
    mode = state.get(PANEL, "mode")
    with controls:
        asked = TOOLS[mode](studio)
    with before:
        st.caption(say("edit.before"))
        more = _brushed(studio, picture) if mode == "inpaint" else _plain(picture)
    with controls:
        fields.details(studio, PANEL)
        go = st.button(
            say("edit.go"), type="primary", width="stretch", key="edit.once_go",
            disabled=asked is None or more is None,
        )  # fmt: skip
    with after:
        st.caption(say("edit.after"))
        if go:
            sent = {"mode": mode, "image": sources.text(picture), **fields.shared(studio, PANEL)}
            drawing.draw(studio, PANEL, {**sent, **(asked or {}), **(more or {})})
        drawing.show(studio, PANEL, "edit.after.empty")


def _plain(picture: bytes) -> dict[str, Any]:
    st.image(picture, width="stretch", alt="")
    return {}


def _brushed(studio: Studio, picture: bytes) -> dict[str, Any] | None:
    """What was marked: by the brush, as a file, or as a box; None: nothing yet."""
    image = sources.opened(picture)
    width, height = image.size
    sheet = Sheet("brush", width, height, sources.data_url(sources.png(image)))
    try:
        mask = canvas(sheet, studio.say, "edit.once_canvas")
    except RequestError as error:
        studio.tell(error)
        mask = None
    with st.expander(studio.say("edit.otherwise"), icon=":material/crop:"):
        given = st.file_uploader(studio.say("edit.mask"), ["png"], key="edit.once_mask")
        state.default(PANEL, boxed=False, across=(25, 75), down=(25, 75))
        boxed = st.checkbox(studio.say("edit.box"), key=f"{PANEL}.boxed")
        across = st.slider(studio.say("edit.across"), 0, 100, key=f"{PANEL}.across", disabled=not boxed)
        down = st.slider(studio.say("edit.down"), 0, 100, key=f"{PANEL}.down", disabled=not boxed)
    if boxed:
        return {"box": box((width, height), across, down)}
    if given is not None:
        mask = given.getvalue()
    return None if mask is None else {"mask": sources.text(mask)}


def box(size: tuple[int, int], across: tuple[int, int], down: tuple[int, int]) -> list[int]:
    """Left, top, right, bottom in pixels of shares in percent; at least one pixel wide and high."""
    left, right = (round(size[0] * share / 100) for share in across)
    top, bottom = (round(size[1] * share / 100) for share in down)
    left, top = min(left, size[0] - 1), min(top, size[1] - 1)
    return [left, top, max(right, left + 1), max(bottom, top + 1)]


def _strength(studio: Studio, name: str, value: float) -> float:
    """How far it is drawn anew; every tool remembers its own."""
    state.default(PANEL, **{name: value})
    return float(st.slider(studio.say("edit.strength"), 0.0, 1.0, step=0.05, key=f"{PANEL}.{name}"))


def _inpaint(studio: Studio) -> dict[str, Any] | None:
    typed = fields.prompt(studio, PANEL, label="edit.prompt")
    strength = _strength(studio, "strength_place", 0.8)
    return {"strength": strength, "feather": 4} if typed else None


def _whole(studio: Studio) -> dict[str, Any] | None:
    typed = fields.prompt(studio, PANEL, label="edit.prompt")
    strength = _strength(studio, "strength_whole", 0.6)
    return {"strength": strength} if typed else None


def _enlarge(studio: Studio) -> dict[str, Any] | None:
    typed = fields.prompt(studio, PANEL, label="edit.shown")
    state.default(PANEL, scale=2.0)
    scale = st.slider(studio.say("edit.scale"), 1.5, 4.0, step=0.5, key=f"{PANEL}.scale")
    strength = _strength(studio, "strength_large", 0.25)
    return {"scale": scale, "strength": strength} if typed else None


def _change(studio: Studio) -> dict[str, Any] | None:
    """Other values of what the model knows by name; without a vocabulary other words."""
    fields.prompt(studio, PANEL, label="edit.shown.maybe")
    known = studio.model.vocabulary
    change = _values(studio, known) if known else _words(studio)
    return {"change": change} if change else None


def _values(studio: Studio, known: Mapping[str, Any]) -> dict[str, str]:
    say, model = studio.say, studio.model
    chosen = {}
    columns = st.columns(2)
    for place, attribute in enumerate(known):
        state.default(PANEL, **{f"to_{attribute}": UNCHANGED})
        with columns[place % 2]:
            chosen[attribute] = st.selectbox(
                say.attribute(attribute), [UNCHANGED, *known[attribute]], key=f"{PANEL}.to_{attribute}",
                format_func=lambda value, of=attribute: model.word(of, value, say.language) or say("edit.unchanged"),
            )  # fmt: skip
    return {attribute: value for attribute, value in chosen.items() if value}


def _words(studio: Studio) -> dict[str, str]:
    one, two = st.columns(2)
    state.default(PANEL, words="", other="")
    words = one.text_input(studio.say("edit.words"), key=f"{PANEL}.words").strip()
    other = two.text_input(studio.say("edit.other"), key=f"{PANEL}.other").strip()
    return {words: other} if words and other else {}


TOOLS: Mapping[str, Callable[[Studio], dict[str, Any] | None]] = {
    "inpaint": _inpaint,
    "edit": _change,
    "image_to_image": _whole,
    "upscale": _enlarge,
}
"""Mode -> its controls, which give the fields of a request; None: something is still missing."""

"""What the page remembers between two runs: the settings of every panel, the picture in hand, what was drawn.

A setting is a key `<panel>.<field>` of the session; the widget of that key shows and changes it. Streamlit forgets the
keys of widgets that a run does not show, so `remember` writes them back.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from components.settings import settings
from serving.studio import gallery
from serving.studio.gallery import Kept
from serving.studio.words import LANGUAGES, Words, load

PANELS = ("draw", "edit", "guide", "move", "compare", "gallery")
PAGE, LANGUAGE, SOURCE = "page", "language", "source"
ONCE = "once"
"""Part of the key of a widget that must not be written back (buttons, uploads, drawings)."""

OF_MODE = {
    "text_to_image": "draw",
    "image_to_image": "edit",
    "inpaint": "edit",
    "edit": "edit",
    "upscale": "edit",
    "control": "guide",
    "animate": "move",
    "interpolate": "move",
}
"""Mode of a request -> the panel that makes such requests."""


def remember() -> None:
    """Keep the settings of panels that this run does not show. Call before any widget."""
    st.session_state.setdefault(PAGE, PANELS[0])
    st.session_state.setdefault(LANGUAGE, words().language)
    for key in [str(key) for key in st.session_state]:
        panel, dot, name = key.partition(".")
        if dot and panel in PANELS and not name.startswith(ONCE):
            st.session_state[key] = st.session_state[key]


def words() -> Words:
    """The texts in the chosen language; the address keeps the choice (`?language=en`)."""
    chosen = st.session_state.get(LANGUAGE) or st.query_params.get(LANGUAGE, "ja")
    return load(chosen if chosen in LANGUAGES else "ja")


def default(panel: str, **values: Any) -> None:
    """Settings of a panel where it has none yet."""
    for name, value in values.items():
        st.session_state.setdefault(f"{panel}.{name}", value)


def get(panel: str, name: str, otherwise: Any = None) -> Any:
    """A setting."""
    return st.session_state.get(f"{panel}.{name}", otherwise)


def put(panel: str, **values: Any) -> None:
    """Change settings; only before their widgets are shown, or in a callback."""
    for name, value in values.items():
        st.session_state[f"{panel}.{name}"] = value


def panel() -> str:
    """The chosen panel."""
    chosen = st.session_state.get(PAGE)
    return chosen if chosen in PANELS else PANELS[0]


def open_panel(name: str) -> None:
    """Show another panel in the next run. For callbacks."""
    st.session_state[PAGE] = name


def take(picture: Kept, panel: str) -> None:
    """Go on from a picture in another panel. For callbacks."""
    st.session_state[SOURCE] = picture.content
    put(panel, prompt=picture.typed.get("prompt", ""))
    open_panel(panel)


def source() -> bytes | None:
    """The picture in hand."""
    found: bytes | None = st.session_state.get(SOURCE)
    return found


def again(request: Mapping[str, Any]) -> None:
    """Take over a picture's settings and show the panel that made it. For callbacks."""
    mode = str(request.get("mode", "text_to_image"))
    panel = OF_MODE.get(mode, "draw")
    given = {name: value for name, value in request.items() if name not in ("image", "mask")}
    put(panel, **shown(given))
    if isinstance(image := request.get("image"), str):
        st.session_state[SOURCE] = base64.b64decode(image)
    open_panel(panel)


def shown(request: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a request as the widgets of its panel hold them."""
    values = {"seed": None, "raw": False, **request}
    width, height = values.pop("width", None), values.pop("height", None)
    if width and height:
        values["shape"] = "square" if width == height else "tall" if width < height else "wide"
    loras = list(dict(values.pop("loras", None) or {}).items())
    for name, (lora, weight) in zip(("character", "style"), loras, strict=False):
        values |= {name: lora, f"{name}_weight": weight}
    return values


def results(panel: str) -> list[Kept]:
    """What a panel drew last, of what is still there."""
    names: Sequence[str] = st.session_state.get(f"result:{panel}", ())
    found = (gallery.find(settings().gallery_dir, name) for name in names)
    return [each for each in found if each is not None]


def drawn(panel: str, pictures: Sequence[Kept]) -> None:
    """A panel drew these."""
    st.session_state[f"result:{panel}"] = [each.name for each in pictures]

"""The gallery: everything that was drawn, what made it, and the way back to its settings."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

from components.settings import settings
from serving.studio import drawing, gallery, state
from serving.studio.gallery import Kept
from serving.studio.page import Studio, plain
from serving.studio.words import Words

PANEL = "gallery"
PAGE, TILE = 24, 150
"""Pictures shown at first, and the width of one in pixels."""
TOLD = ("seed", "steps", "sampler", "guidance_scale", "strength", "model", "model_version", "mode")
"""Facts worth showing, by their name in a picture's metadata."""


def show(studio: Studio) -> None:
    """The open picture, then all of them."""
    say, found = studio.say, gallery.kept(settings().gallery_dir)
    if not found:
        studio.blank("gallery.empty")
        return
    state.default(PANEL, open=found[0].name, most=PAGE)
    chosen = gallery.find(settings().gallery_dir, state.get(PANEL, "open")) or found[0]
    _open(studio, chosen)
    _tiles(say, found[: state.get(PANEL, "most")], chosen)
    if len(found) > state.get(PANEL, "most"):
        st.button(say("gallery.more"), on_click=_more, key="gallery.once_more")


def _more() -> None:
    state.put(PANEL, most=state.get(PANEL, "most") + PAGE)


def _open(studio: Studio, picture: Kept) -> None:
    """Large, with its facts and what can be done with it."""
    say = studio.say
    stage, facts = st.columns([7, 5], gap="large")
    with stage, st.container(key="stage_gallery"):
        drawing.view(picture)
    with facts:
        if trouble := st.session_state.pop(f"trouble:{PANEL}", None):
            studio.tell(trouble)
        st.html(facts_of(picture.facts, picture.typed, say))
        drawing.actions(studio, picture, PANEL)
        st.button(
            say("gallery.delete"), icon=":material/delete:", type="tertiary", on_click=_forget, args=(picture,),
            key="gallery.once_delete",
        )  # fmt: skip


def _forget(picture: Kept) -> None:
    picture.forget()
    st.session_state.pop(f"{PANEL}.open", None)


def facts_of(facts: Mapping[str, Any], typed: Mapping[str, str], say: Words) -> str:
    """What made a picture, as a list in HTML; every text in it is escaped."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _rows(facts, typed, say))
    return f'<dl class="k-facts">{rows}</dl>'


def _rows(facts: Mapping[str, Any], typed: Mapping[str, str], say: Words) -> Iterator[tuple[str, str]]:
    if typed.get("prompt"):
        yield say("fact.typed"), typed["prompt"]
    if facts.get("prompt") and facts["prompt"] != typed.get("prompt"):
        yield say("fact.prompt"), str(facts["prompt"])
    if facts.get("width"):
        yield say("fact.size"), f"{facts['width']} × {facts['height']}"
    for name in TOLD:
        if facts.get(name) not in (None, ""):
            yield say(f"fact.{name}"), say.known(f"{name}.{facts[name]}", str(facts[name]))


def _tiles(say: Words, found: Sequence[Kept], chosen: Kept) -> None:
    """Small pictures; a button without a face lies over each, so that a click or Enter opens it."""
    with st.container(horizontal=True, gap="small", key="tiles"):
        for picture in found:
            name = "chosen" if picture.name == chosen.name else "tile"
            with st.container(key=f"{name}_{picture.path.stem}", width=TILE):
                st.image(picture.content, width=TILE, alt="")
                label = say("gallery.open", prompt=plain(picture.typed.get("prompt", picture.name)))
                st.button(label, key=f"gallery.once_{picture.name}", on_click=_choose, args=(picture.name,))


def _choose(name: str) -> None:
    state.put(PANEL, open=name)

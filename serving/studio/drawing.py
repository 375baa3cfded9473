"""A picture while it is drawn, and what was drawn: the large side of every panel."""

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import streamlit as st

from components.contracts import Done, Preview
from components.errors import KyaraError
from components.settings import settings
from serving.studio import gallery, state
from serving.studio.client import ServiceError, pictures
from serving.studio.gallery import Kept
from serving.studio.page import Studio, plain

PATIENCE = 20
"""Times that a busy service is asked again."""


def draw(studio: Studio, panel: str, request: Mapping[str, Any]) -> None:
    """Ask, show every preview, keep what comes. Any click of the user ends the run here, and with it the drawing."""
    say = studio.say
    with st.container(key="drawing"):
        bar, picture, note = st.progress(0.0, say("draw.working")), st.empty(), st.empty()
        st.button(say("draw.stop"), icon=":material/stop:", key=f"{panel}.once_stop")
        try:
            done = _last(studio, request, bar, picture, note)
        except KyaraError as error:
            state.drawn(panel, ())
            st.session_state[f"trouble:{panel}"] = error
        else:
            st.session_state.pop(f"trouble:{panel}", None)
            state.drawn(panel, kept(done, request))
    st.rerun()


def _last(studio: Studio, request: Mapping[str, Any], bar: Any, picture: Any, note: Any) -> Done:
    for event in patient(studio, request, note):
        if isinstance(event, Done):
            return event
        bar.progress(min(event.done / max(event.total, 1), 1.0), studio.say("draw.working"))
        if event.content:
            # Inside the page: a file of its own would be gone before a slow browser asks for it.
            source = f"data:image/png;base64,{base64.b64encode(event.content).decode('ascii')}"
            picture.html(f'<img class="k-live" src="{source}" alt="{studio.say("draw.working")}">')
    raise ServiceError("the service ended without a picture.", code="foreign")


def patient(studio: Studio, request: Mapping[str, Any], note: Any) -> Iterator[Preview | Done]:
    """The events of a drawing; a busy service (429, 503 with Retry-After) is asked again after it said so."""
    for _ in range(PATIENCE):
        try:
            with closing(studio.service.draw(request)) as drawing:  # type: ignore[type-var]  # it is a generator
                yield from drawing
            return
        except ServiceError as error:
            if error.retry_after is None:
                raise
            for left in range(error.retry_after, 0, -1):
                note.info(studio.say("trouble.busy", seconds=left), icon=":material/hourglass_top:")
                time.sleep(1)
            note.empty()
    raise ServiceError("the service stayed busy.", code="overloaded")


def kept(done: Done, request: Mapping[str, Any]) -> list[Kept]:
    """What came, in the gallery."""
    typed = {name: str(request[name]) for name in ("prompt", "negative_prompt") if request.get(name)}
    folder = settings().gallery_dir
    return [gallery.keep(folder, content, media, typed) for content, media in pictures(done)]


def show(studio: Studio, panel: str, empty: str) -> None:
    """What the panel drew last, large; before the first picture the text of the key `empty`."""
    trouble: KyaraError | None = st.session_state.get(f"trouble:{panel}")
    if trouble is not None:
        studio.tell(trouble, offered=f"{panel}.prompt")
    found = state.results(panel)
    if not found and trouble is None:
        studio.blank(empty)
    if len(found) == 1:
        shown(studio, found[0], panel)
    elif found:
        many(studio, found, panel)


def shown(studio: Studio, picture: Kept, panel: str) -> None:
    """One picture, with what can be done with it."""
    with st.container(key=f"stage_{panel}"):
        view(picture)
        caption(studio, picture)
        actions(studio, picture, panel)


def view(picture: Kept) -> None:
    """The picture or film itself, as wide as its place."""
    if picture.media_type.startswith("video/"):
        st.video(picture.content, loop=True, autoplay=True, muted=True)
    else:
        st.image(picture.content, width="stretch", alt=picture.typed.get("prompt", picture.name))


def caption(studio: Studio, picture: Kept) -> None:
    """Its number, and what the service warns of."""
    facts = picture.facts
    if "seed" in facts:
        st.caption(studio.say("picture.told", seed=facts["seed"], width=facts["width"], height=facts["height"]))
    for warning in facts.get("warnings", ()):
        st.caption(f":material/info: {plain(str(warning))}")


def actions(studio: Studio, picture: Kept, panel: str) -> None:
    """Save it, or go on from it."""
    say, key = studio.say, f"{panel}.once_{picture.name}"
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            say("picture.save"), picture.content, f"kyara-{picture.name}", picture.media_type, key=f"{key}_save",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        if picture.media_type == "image/png":
            st.button(
                say("picture.edit"), icon=":material/brush:", key=f"{key}_edit", on_click=state.take,
                args=(picture, "edit"),
            )  # fmt: skip
        st.button(
            say("picture.again"), icon=":material/replay:", key=f"{key}_again", on_click=again, args=(picture, panel)
        )


def again(picture: Kept, panel: str) -> None:
    """Take over the picture's settings; a picture that does not say them tells so. A callback."""
    try:
        state.again(picture.request)
    except KyaraError as error:
        st.session_state[f"trouble:{panel}"] = error


def many(studio: Studio, found: Sequence[Kept], panel: str) -> None:
    """Several pictures, two in a row."""
    columns = st.columns(2)
    for place, picture in enumerate(found):
        with columns[place % 2]:
            shown(studio, picture, f"{panel}{place}")

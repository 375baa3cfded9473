"""The picture in hand, which panels change or let move: chosen from the gallery or given as a file."""

import base64
import io

import streamlit as st
from PIL import Image

from components.errors import RequestError
from components.image.generation.pictures import decoded, picture_of
from components.settings import settings
from serving.studio import gallery, state
from serving.studio.fields import GRAIN
from serving.studio.page import Studio

NEWEST = 8


def choose(studio: Studio, panel: str) -> bytes | None:
    """The picture in hand, after the user may have taken another; None where there is none yet."""
    say = studio.say
    given = st.file_uploader(say("source.file"), ["png", "jpg", "jpeg", "webp"], key=f"{panel}.once_file")
    if given is not None and given.file_id != st.session_state.get("source_file"):
        st.session_state["source_file"] = given.file_id
        _take(studio, given.getvalue())
    newest = [each for each in gallery.kept(settings().gallery_dir) if each.media_type == "image/png"][:NEWEST]
    if newest:
        with st.popover(say("source.gallery"), icon=":material/photo_library:"):
            columns = st.columns(4)
            for place, picture in enumerate(newest):
                with columns[place % 4]:
                    st.image(picture.content, width="stretch", alt=picture.typed.get("prompt", picture.name))
                    key = f"{panel}.once_take_{picture.name}"
                    st.button(say("source.take"), key=key, on_click=state.take, args=(picture, panel), type="tertiary")
    return state.source()


def _take(studio: Studio, content: bytes) -> None:
    try:
        st.session_state[state.SOURCE] = fitted(content, studio.model.side)
    except RequestError as error:
        studio.tell(error)


def opened(content: bytes) -> Image.Image:
    """The picture as it is drawn on: upright and opaque."""
    return decoded(picture_of(content), "image")


def text(content: bytes) -> str:
    """A file's bytes as a request carries them."""
    return str(picture_of(content))


def data_url(content: bytes) -> str:
    """A PNG file that a page shows without asking for it."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def of_data_url(url: str) -> bytes:
    """The file of a data URL."""
    return base64.b64decode(url.partition(",")[2])


def png(image: Image.Image) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def fitted(content: bytes, side: int) -> bytes:
    """A file of any sound picture at a size that the model draws well: its longer side `side`, multiples of GRAIN.

    One that needs no change is given back as it is, with its metadata. Raises RequestError.
    """
    image = opened(content)
    share = min(1.0, side / max(image.size))
    size = tuple(max(GRAIN, round(each * share / GRAIN) * GRAIN) for each in image.size)
    return content if size == image.size else png(image.resize((size[0], size[1]), Image.Resampling.LANCZOS))

"""The page itself: its bar, the language, and the chosen panel. Streamlit runs this file at every change."""

import time
from pathlib import Path

import streamlit as st

from components.settings import settings
from serving.studio import state
from serving.studio.client import Service, ServiceError
from serving.studio.page import Studio, tell
from serving.studio.panels import PANELS
from serving.studio.words import LANGUAGES, Words

HERE = Path(__file__).parent
AGAIN_SECONDS = 3
"""Until a service that is not ready is asked again."""


@st.cache_resource
def service() -> Service:
    """One client for all sessions."""
    key = settings().studio_key
    return Service(settings().service_url, None if key is None else key.get_secret_value())


def main() -> None:
    """One run of the page."""
    say = state.words()
    st.set_page_config(say("title"), page_icon=HERE / "icon.png", layout="wide", initial_sidebar_state="collapsed")
    st.html(HERE / "style.css")
    st.html(f'<style>:root {{ --k-choose: "{say("file.choose")}"; }}</style>')
    state.remember()
    head(say)
    try:
        model = service().model()
    except ServiceError as error:
        missing(say, error)
        return
    PANELS[state.panel()](Studio(service(), model, say))
    st.html(f'<p class="k-foot">{say("foot", model=model.name)}</p>')


def head(say: Words) -> None:
    """The name, the panels, the language."""
    with st.container(key="masthead", horizontal=True, vertical_alignment="center", gap="medium"):
        st.html(f'<h1 class="k-name">{say("title")}</h1>', width="content")
        with st.container(key="panels", width="stretch"):
            st.segmented_control(
                say("panels"), list(PANELS), key=state.PAGE, required=True, label_visibility="collapsed",
                format_func=lambda name: say(f"panel.{name}"),
            )  # fmt: skip
        with st.container(key="languages", width="content"):
            st.segmented_control(
                say("language"), list(LANGUAGES), key=state.LANGUAGE, required=True, label_visibility="collapsed",
                format_func=LANGUAGES.__getitem__, bind="query-params",
            )  # fmt: skip


def missing(say: Words, error: ServiceError) -> None:
    """No service: how to start it. One whose model is not ready yet is asked again by itself."""
    if error.code == "not_ready":
        st.info(say("trouble.not_ready"), icon=":material/hourglass_top:")
        time.sleep(AGAIN_SECONDS)
        st.rerun()
    tell(say, error)
    if error.code == "offline":
        st.markdown(say("offline.how"))
        st.code("kyara serve", language="shell")
    st.button(say("offline.again"), icon=":material/refresh:", key="once_again")


main()

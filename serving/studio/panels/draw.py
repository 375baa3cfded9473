"""Draw: a prompt becomes a picture."""

import streamlit as st

from serving.studio import drawing, fields
from serving.studio.page import Studio

PANEL = "draw"


def show(studio: Studio) -> None:
    """Prompt and settings beside the large picture."""
    say = studio.say
    controls, stage = st.columns([5, 7], gap="large")
    with controls:
        typed = fields.prompt(studio, PANEL, examples=True)
        asked = st.button(
            say("draw.go"), type="primary", width="stretch", disabled=not typed, key="draw.once_go",

        )  # fmt: skip
        fields.character(studio, PANEL)
        fields.details(studio, PANEL, sizes=True, several=True)
        fields.preset(studio, PANEL)
    with stage:
        if asked:
            drawing.draw(studio, PANEL, fields.shared(studio, PANEL))
        drawing.show(studio, PANEL, "draw.empty")

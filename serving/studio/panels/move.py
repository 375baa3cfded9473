"""Move: an emotion by a slider, or a picture that moves."""

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st
from PIL import Image

from serving.studio import drawing, fields, sources, state
from serving.studio.client import Model
from serving.studio.gallery import Kept
from serving.studio.page import Studio

PANEL = "move"
EMOTION = "expression"
MOODS = ("angry", "cry", "sad", "frown", "neutral", "smile", "laugh")
"""From dark to bright: the order of the slider; what a model knows besides stands at the end."""
FRAMES = 9


def show(studio: Studio) -> None:
    """What moves beside the large picture."""
    say = studio.say
    state.default(PANEL, mode="interpolate" if EMOTION in studio.model.vocabulary else "animate")
    controls, stage = st.columns([5, 7], gap="large")
    with controls:
        typed = fields.prompt(studio, PANEL)
        st.segmented_control(
            say("move.kind"), ["interpolate", "animate"], key=f"{PANEL}.mode", required=True, width="stretch",
            format_func=lambda each: say(f"move.{each}"),
        )  # fmt: skip
        mode = state.get(PANEL, "mode")
        asked = _emotion(studio) if mode == "interpolate" else _animation(studio)
        fields.details(studio, PANEL)
        go = st.button(
            say("move.go"), type="primary", width="stretch", key="move.once_go",
            disabled=not (typed and asked),
        )  # fmt: skip
    with stage:
        if go and asked:
            drawing.draw(studio, PANEL, {"mode": mode, **fields.shared(studio, PANEL), **asked})
        _stage(studio, mode)


def _stage(studio: Studio, mode: str) -> None:
    found = state.results(PANEL)
    strip = found[0] if len(found) == 1 and found[0].facts.get("mode") == "interpolate" else None
    if mode == "interpolate" and strip is not None and strip.media_type == "image/png":
        _slider(studio, strip)
    else:
        drawing.show(studio, PANEL, f"move.empty.{mode}")


def moods(model: Model) -> list[str]:
    """The emotions that a model knows, from dark to bright."""
    known = list(model.vocabulary.get(EMOTION, {}))
    return sorted(known, key=lambda each: MOODS.index(each) if each in MOODS else len(MOODS))


def _emotion(studio: Studio) -> dict[str, Any] | None:
    say, known = studio.say, moods(studio.model)
    if len(known) < 2:
        st.info(say("move.noemotion"))
        return None
    words = [studio.model.word(EMOTION, value, say.language) for value in known]
    st.caption(say("move.way", way=" → ".join(words)))
    return {"keys": [{"change": {EMOTION: value}} for value in known], "frames": FRAMES + 3}


def _slider(studio: Studio, strip: Kept) -> None:
    """One picture of the strip, chosen by the slider; no request is made for it."""
    say, known = studio.say, moods(studio.model)
    frames, places = emotions(strip.content, strip.facts)
    picture = st.empty()
    state.default(PANEL, place=50)
    percent = st.slider(say("move.slider"), 0, 100, key=f"{PANEL}.place", format=" ", label_visibility="collapsed")
    words = "".join(f"<span>{escape(studio.model.word(EMOTION, value, say.language))}</span>" for value in known)
    st.html(f'<div class="k-moods" aria-hidden="true">{words}</div>')
    image = nearest(frames, places, percent / 100)
    content = sources.png(image)
    picture.image(content, width="stretch", alt=strip.typed.get("prompt", ""))
    with st.container(horizontal=True):
        st.download_button(
            say("picture.save"), content, "kyara-emotion.png", "image/png", icon=":material/download:",
            on_click="ignore", key="move.once_save",
        )  # fmt: skip
        st.download_button(
            say("move.strip"), strip.content, f"kyara-{strip.name}", strip.media_type, icon=":material/view_column:",
            on_click="ignore", key="move.once_strip",
        )  # fmt: skip


def emotions(strip: bytes, facts: Mapping[str, Any]) -> tuple[list[Image.Image], list[float]]:
    """The frames of a strip that lie between its emotions, and where, from 0 (the first emotion) to 1 (the last).

    The request itself is key 0 and shows whatever the prompt says; the emotions are the keys behind it.
    """
    places = [float(each) for each in facts["places"]]
    with Image.open(io.BytesIO(strip)) as opened:
        image = opened.convert("RGB")
    width = image.width // len(places)
    last = max(places)
    inside = [number for number, place in enumerate(places) if place >= 1 - 1e-6 and last > 1]
    frames = [image.crop((number * width, 0, (number + 1) * width, image.height)) for number in inside]
    return frames, [(places[number] - 1) / (last - 1) for number in inside]


def nearest(frames: Sequence[Image.Image], places: Sequence[float], place: float) -> Image.Image:
    """The frame that lies nearest to a place."""
    return min(zip(frames, places, strict=True), key=lambda each: abs(each[1] - place))[0]


def _animation(studio: Studio) -> dict[str, Any] | None:
    """Emotions one after another, a motion of the head, or both."""
    say, known = studio.say, moods(studio.model)
    state.default(PANEL, to=[], motion="none", frames=12, fps=8, format="webp")
    if known:
        st.pills(
            say("move.to"), known, selection_mode="multi", key=f"{PANEL}.to",
            format_func=lambda value: studio.model.word(EMOTION, value, say.language),
        )  # fmt: skip
    st.segmented_control(
        say("move.motion"), ["none", "nod", "tilt"], key=f"{PANEL}.motion", required=True,
        format_func=lambda each: say(f"move.motion.{each}"),
    )  # fmt: skip
    one, two = st.columns(2)
    one.slider(say("move.frames"), 4, 32, key=f"{PANEL}.frames")
    two.slider(say("move.fps"), 2, 24, key=f"{PANEL}.fps")
    st.segmented_control(
        say("move.format"), ["webp", "gif", "mp4"], key=f"{PANEL}.format", required=True, format_func=str.upper
    )
    keys = [{"change": {EMOTION: value}} for value in state.get(PANEL, "to")]
    motion = state.get(PANEL, "motion")
    if not keys and motion == "none":
        return None
    timing = {name: state.get(PANEL, name) for name in ("frames", "fps", "format")}
    return {"keys": keys, "motion": motion, **timing}

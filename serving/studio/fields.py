"""Controls that several panels share, and what they make of a request. A field's key is `<panel>.<field>`."""

from typing import Any

import streamlit as st

from components.errors import KyaraError
from components.image.generation import presets
from components.image.generation.request import SAMPLERS
from serving.studio import reading, state
from serving.studio.client import ServiceError
from serving.studio.page import Studio, plain

OWN = ""
"""Choice of no LoRA: the model's own character."""
SHAPES = {"square": (1.0, 1.0), "tall": (0.75, 1.0), "wide": (1.0, 0.75)}
"""Shares of the model's own side."""
GRAIN = 32
"""Sides are multiples of this: what the latents of every family divide."""
PRESET = ("steps", "guidance_scale", "sampler", "negative_prompt", "strength")
"""Settings that a preset keeps, besides the LoRAs."""


def prompt(studio: Studio, panel: str, *, label: str = "prompt.label", examples: bool = False) -> str:
    """The prompt, and how it is read."""
    say, key = studio.say, f"{panel}.prompt"
    state.default(panel, prompt="")
    st.text_area(say(label), key=key, height=96, placeholder=say("prompt.example"), max_chars=2000)
    typed = str(st.session_state[key]).strip()
    if typed and not state.get(panel, "raw"):
        read(studio, typed)
    elif examples and not typed:
        _examples(studio, key)
    return typed


def read(studio: Studio, typed: str) -> None:
    """What the service understands; nothing where the model gets a prompt as it is typed."""
    try:
        found = studio.service.read(typed)
    except ServiceError as error:
        studio.tell(error)
        return
    if found is not None:
        st.html(reading.view(found, studio.model, studio.say))


def _examples(studio: Studio, key: str) -> None:
    with st.container(horizontal=True, gap="xsmall", key="examples"):
        for number in (1, 2, 3):
            text = studio.say(f"example.{number}")
            st.button(text, key=f"once_example_{number}", type="tertiary", on_click=_put, args=(key, text))


def _put(key: str, value: Any) -> None:
    st.session_state[key] = value


def character(studio: Studio, panel: str) -> None:
    """Whose picture it is, and in which style: LoRAs that the service knows, beside the model's own."""
    say, known = studio.say, [OWN, *studio.model.loras]
    state.default(panel, character=OWN, style=OWN, character_weight=0.8, style_weight=0.8)
    for name in ("character", "style"):
        if state.get(panel, name) not in known:
            state.put(panel, **{name: OWN})
    own = {"character": say("character.own", name=studio.model.card.get("name", "")), "style": say("style.own")}
    for place, name in zip(st.columns(2), ("character", "style"), strict=True):
        with place:
            st.selectbox(
                say(f"{name}.label"), known, key=f"{panel}.{name}", format_func=lambda each, of=own[name]: each or of
            )
            if state.get(panel, name) != OWN:
                st.slider(say("lora.weight"), 0.0, 1.5, step=0.05, key=f"{panel}.{name}_weight")


def loras(panel: str) -> dict[str, float]:
    """Name -> weight of what `character` chose."""
    chosen = ((state.get(panel, name), state.get(panel, f"{name}_weight")) for name in ("character", "style"))
    return {name: weight for name, weight in chosen if name}


def details(studio: Studio, panel: str, *, sizes: bool = False, several: bool = False) -> None:
    """What most people leave as it is."""
    say = studio.say
    state.default(panel, negative_prompt="", seed=None, steps=None, guidance_scale=None, sampler=None, raw=False)
    with st.expander(say("details.title"), icon=":material/tune:"):
        if sizes:
            state.default(panel, shape="square")
            st.segmented_control(
                say("details.shape"), list(SHAPES), key=f"{panel}.shape", required=True,
                format_func=lambda each: say(f"shape.{each}"),
            )  # fmt: skip
        if several:
            state.default(panel, n=1)
            st.slider(say("details.n"), 1, 8, key=f"{panel}.n")
        one, two = st.columns(2)
        one.number_input(
            say("details.seed"), 0, 2**32 - 1, key=f"{panel}.seed", step=1, placeholder=say("details.any"),
            help=say("details.seed.help"),
        )  # fmt: skip
        two.number_input(say("details.steps"), 1, 100, key=f"{panel}.steps", step=1, placeholder=say("details.own"))
        st.text_input(say("details.negative"), key=f"{panel}.negative_prompt", help=say("details.negative.help"))
        if not studio.model.distilled:
            one, two = st.columns(2)
            one.number_input(
                say("details.guidance"), 0.0, 30.0, key=f"{panel}.guidance_scale", step=0.5,
                placeholder=say("details.own"),
            )  # fmt: skip
            two.selectbox(
                say("details.sampler"), [None, *(name for name in SAMPLERS if name != "lcm")], key=f"{panel}.sampler",
                format_func=lambda each: SAMPLERS.get(each, say("details.own")),
            )  # fmt: skip
        st.checkbox(say("details.raw"), key=f"{panel}.raw")


def shared(studio: Studio, panel: str) -> dict[str, Any]:
    """The shared fields as values of a request; what was left open is left out."""
    names = ("prompt", "negative_prompt", "seed", "steps", "guidance_scale", "sampler", "raw", "n")
    values = {name: state.get(panel, name) for name in names}
    asked = {name: value for name, value in values.items() if not left_open(value) and (name, value) != ("n", 1)}
    if shape := state.get(panel, "shape"):
        asked |= size(studio.model.side, shape)
    if chosen := loras(panel):
        asked["loras"] = chosen
    return asked


def left_open(value: Any) -> bool:
    """Whether a widget holds nothing; 0 is a value."""
    return value is None or value is False or value == ""


def size(side: int, shape: str) -> dict[str, int]:
    """Width and height of a shape; nothing for the model's own square."""
    if shape not in SHAPES or shape == "square":
        return {}
    width, height = (max(GRAIN, round(side * share / GRAIN) * GRAIN) for share in SHAPES[shape])
    return {"width": width, "height": height}


def preset(studio: Studio, panel: str) -> None:
    """Saved settings: choose, or save what is set now. They are those of `kyara preset`."""
    say = studio.say
    with st.popover(say("preset.title"), icon=":material/bookmark:"):
        try:
            saved = presets.listed()
        except KyaraError as error:
            studio.tell(error)
            return
        if saved:
            name = st.selectbox(say("preset.choose"), list(saved), key=f"{panel}.once_preset")
            one, two = st.columns(2)
            one.button(say("preset.use"), on_click=_use, args=(panel, saved.get(name, {})), key=f"{panel}.once_use")
            two.button(say("preset.delete"), on_click=presets.delete, args=(name,), key=f"{panel}.once_delete")
        else:
            st.caption(say("preset.none"))
        name = st.text_input(say("preset.name"), key=f"{panel}.preset_name", max_chars=64)
        if st.button(say("preset.save"), disabled=not name, key=f"{panel}.once_save"):
            _save(studio, panel, name)


def _use(panel: str, values: dict[str, Any]) -> None:
    state.put(panel, **state.shown({"seed": state.get(panel, "seed"), **values}))


def _save(studio: Studio, panel: str, name: str) -> None:
    values = {field: value for field, value in shared(studio, panel).items() if field in PRESET or field == "loras"}
    try:
        presets.save(name, values)
    except KyaraError as error:
        studio.tell(error)
    else:
        st.success(studio.say("preset.saved", name=plain(name)))

"""Compare: any two settings against each other, one picture a cell, all at the same seed."""

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st
from PIL import Image

from components.contracts import Done
from components.errors import KyaraError
from components.image.sheets import sheet
from components.settings import settings
from serving.studio import drawing, fields, gallery, sources, state
from serving.studio.page import Studio

PANEL = "compare"
MOST = 36
WORDS = "words"
SETTINGS: Mapping[str, type] = {"seed": int, WORDS: str, "steps": int, "guidance_scale": float}
CELLS = "cells:compare"


def show(studio: Studio) -> None:
    """The axes beside the grid."""
    say = studio.say
    state.default(PANEL, x="seed", y=WORDS, x_values="1, 2, 3", y_values=say("compare.words.example"))
    controls, stage = st.columns([5, 7], gap="large")
    with controls:
        typed = fields.prompt(studio, PANEL)
        axes = (_axis(studio, "x"), _axis(studio, "y"))
        count = len(axes[0][1]) * len(axes[1][1])
        st.caption(say("compare.count", count=count, most=MOST))
        fields.character(studio, PANEL)
        fields.details(studio, PANEL)
        go = st.button(
            say("compare.go"), type="primary", width="stretch", key="compare.once_go",
            disabled=not typed or not 0 < count <= MOST,
        )  # fmt: skip
    with stage:
        if go:
            _draw(studio, axes)
        _show(studio)


Axis = tuple[str, list[Any]]


def _axis(studio: Studio, name: str) -> Axis:
    say = studio.say
    one, two = st.columns(2)
    known = [each for each in SETTINGS if each != "guidance_scale" or not studio.model.distilled]
    one.selectbox(
        say(f"compare.{name}"), known, key=f"{PANEL}.{name}", format_func=lambda each: say(f"compare.of.{each}")
    )
    setting = str(state.get(PANEL, name))
    two.text_input(say("compare.values"), key=f"{PANEL}.{name}_values", help=say("compare.values.help"))
    found, wrong = values(setting, str(state.get(PANEL, f"{name}_values")))
    if wrong:
        st.caption(f":red[{say('compare.wrong', values='、'.join(wrong))}]")
    return setting, found


def values(setting: str, text: str) -> tuple[list[Any], list[str]]:
    """What a list says, and what of it is no value of this setting."""
    found, wrong = [], []
    for part in (each.strip() for each in text.replace("、", ",").split(",")):
        if part:
            try:
                found.append(SETTINGS[setting](part))
            except ValueError:
                wrong.append(part)
    return found, wrong


def cell(base: Mapping[str, Any], *chosen: tuple[str, Any]) -> dict[str, Any]:
    """The request of one cell: other words join the prompt, any other setting takes its value."""
    asked = {"seed": 1, **base}
    for setting, value in chosen:
        if setting == WORDS:
            asked["prompt"] = f"{asked['prompt']}, {value}"
        else:
            asked[setting] = value
    return asked


def _draw(studio: Studio, axes: tuple[Axis, Axis]) -> None:
    """Cell by cell; every finished one is shown at once."""
    (across, xs), (down, ys) = axes
    base = fields.shared(studio, PANEL)
    bar, grid, note = st.progress(0.0, studio.say("draw.working")), st.empty(), st.empty()
    rows: list[list[bytes]] = []
    st.session_state[CELLS] = (xs, ys, rows)
    st.session_state.pop(f"trouble:{PANEL}", None)
    try:
        for y in ys:
            rows.append([])
            for x in xs:
                rows[-1].append(_picture(studio, cell(base, (across, x), (down, y)), note))
                bar.progress(sum(map(len, rows)) / (len(xs) * len(ys)), studio.say("draw.working"))
                grid.html(table(xs, ys, rows))
    except KyaraError as error:
        st.session_state[f"trouble:{PANEL}"] = error
    else:
        state.drawn(PANEL, [gallery.keep(settings().gallery_dir, composed(xs, ys, rows), "image/png", _typed(base))])
    st.rerun()


def _typed(base: Mapping[str, Any]) -> dict[str, str]:
    return {"prompt": str(base["prompt"])}


def _picture(studio: Studio, request: Mapping[str, Any], note: Any) -> bytes:
    done = next(each for each in drawing.patient(studio, request, note) if isinstance(each, Done))
    return done.content


def _show(studio: Studio) -> None:
    trouble = st.session_state.get(f"trouble:{PANEL}")
    if trouble is not None:
        studio.tell(trouble)
    xs, ys, rows = st.session_state.get(CELLS, ((), (), ()))
    if not rows:
        studio.blank("compare.empty")
        return
    st.html(table(xs, ys, rows))
    for picture in state.results(PANEL):
        st.download_button(
            studio.say("picture.save"), picture.content, f"kyara-{picture.name}", picture.media_type,
            icon=":material/download:", on_click="ignore", key="compare.once_save",
        )  # fmt: skip


def table(xs: Sequence[Any], ys: Sequence[Any], rows: Sequence[Sequence[bytes]]) -> str:
    """The pictures so far as an HTML table; every text in it is escaped."""
    head = "".join(f'<th scope="col">{escape(str(x))}</th>' for x in xs)
    lines = []
    for y, row in zip(ys, rows, strict=False):
        cells = "".join(
            f'<td><img src="{sources.data_url(each)}" alt="{escape(f"{x}, {y}", quote=True)}"></td>'
            for x, each in zip(xs, row, strict=False)
        )
        lines.append(f'<tr><th scope="row">{escape(str(y))}</th>{cells}</tr>')
    return f'<div class="k-grid"><table><tr><td></td>{head}</tr>{"".join(lines)}</table></div>'


def composed(xs: Sequence[Any], ys: Sequence[Any], rows: Sequence[Sequence[bytes]]) -> bytes:
    """The whole grid as one PNG file; its font has Latin letters only, so that other labels are numbers."""
    pictures = []
    for row in rows:
        opened = []
        for content in row:
            with Image.open(io.BytesIO(content)) as image:
                opened.append(image.convert("RGB"))
        pictures.append(opened)
    return sources.png(sheet(pictures, _labels(xs), _labels(ys), widths=(32, 512)))


def _labels(found: Sequence[Any]) -> list[str]:
    return [str(each) if str(each).isascii() else str(place) for place, each in enumerate(found, 1)]

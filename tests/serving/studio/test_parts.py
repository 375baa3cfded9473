"""What the studio's panels do without a page: settings, readings, grids, frames, the gallery."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from streamlit.web.cli import main as streamlit

from components.errors import RequestError
from components.image.generation.modes import MODES, parse
from serving.studio import fields, gallery, reading, sources, state
from serving.studio.__main__ import arguments, flags
from serving.studio.canvas import drawing, position
from serving.studio.client import Model
from serving.studio.page import offers, plain
from serving.studio.panels import PANELS, compare, move
from serving.studio.panels.edit import TOOLS, box
from serving.studio.panels.shelf import facts_of
from serving.studio.words import load

JA = load("ja")
MOODS = {"smile": {"en": ["smile"], "ja": ["笑顔"]}, "frown": {"en": ["frown"], "ja": ["しかめ面"]}}
MODEL = Model({"name": "m"}, {"expression": MOODS})
HOSTILE = "<img src=x onerror=alert(1)>"


def picture(color: str = "red", size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB", size, color)


def test_the_table_of_panels_holds_what_the_state_knows() -> None:
    assert tuple(PANELS) == state.PANELS
    assert set(state.OF_MODE.values()) < set(PANELS) and state.OF_MODE.keys() <= MODES.keys()
    assert TOOLS.keys() <= state.OF_MODE.keys()


def test_a_pictures_request_becomes_what_the_widgets_hold() -> None:
    shown = state.shown({"prompt": "x", "width": 96, "height": 128, "loras": {"ink": 0.5, "soft": 1.0}, "steps": 4})
    wanted = {"prompt": "x", "seed": None, "raw": False, "shape": "tall", "steps": 4}
    assert wanted.items() <= shown.items()
    assert (shown["character"], shown["character_weight"], shown["style"]) == ("ink", 0.5, "soft")
    assert "width" not in shown and "loras" not in shown


@pytest.mark.parametrize("side", [128, 512, 1024])
def test_shapes_are_sizes_that_a_model_draws(side: int) -> None:
    assert fields.size(side, "square") == {} == fields.size(side, "round")
    tall = fields.size(side, "tall")
    assert tall["width"] < tall["height"] <= side and not any(value % fields.GRAIN for value in tall.values())
    assert fields.size(side, "wide") == {"width": tall["height"], "height": tall["width"]}
    parse({"prompt": "x", **tall})


def test_zero_is_a_value_and_nothing_is_none() -> None:
    assert not any(map(fields.left_open, (0, 0.0, "0", True)))
    assert all(map(fields.left_open, (None, "", False)))


def test_a_reading_shows_words_mistakes_and_doubt_and_no_markup_of_others() -> None:
    draft = {
        "attributes": [
            {"attribute": "expression", "value": "smile", "probability": 0.5, "alternatives": ["frown"]},
            {"attribute": HOSTILE, "value": HOSTILE},
        ],
        "extra": [HOSTILE],
        "corrections": [
            {"said": "smlie", "meant": "smile", "why": "typo"},
            {"said": "笑顔", "meant": "smile", "why": "translation"},
        ],
        "unread": [HOSTILE],
    }
    shown = reading.view({"draft": draft, "confidence": 0.837}, MODEL, JA)
    assert "<img" not in shown
    for wanted in ("笑顔", "または しかめ面", "k-doubt", "<s>smlie</s> → smile", "84%", "わからなかった言葉"):
        assert wanted in shown
    assert shown.count("<s>") == 1


def test_facts_of_a_picture_are_escaped_and_in_words() -> None:
    shown = facts_of({"prompt": HOSTILE, "seed": 0, "mode": "inpaint", "width": 8, "height": 8}, {"prompt": "笑顔"}, JA)
    assert "<img" not in shown and "一部を直す" in shown and "8 × 8" in shown and "<dd>0</dd>" in shown


def test_the_gallery_keeps_pictures_with_what_was_typed(tmp_path: Path) -> None:
    assert gallery.kept(tmp_path / "none") == []
    told = PngInfo()
    told.add_text("kyara", json.dumps({"seed": 3, "request": {"prompt": "pink hair", "seed": 3, "raw": True}}))
    buffer = io.BytesIO()
    picture().save(buffer, "PNG", pnginfo=told)
    first = gallery.keep(tmp_path, buffer.getvalue(), "image/png", {"prompt": "ピンクの髪"})
    second = gallery.keep(tmp_path, b"no picture", "video/mp4")
    assert [each.name for each in gallery.kept(tmp_path)] == [second.name, first.name]
    assert first.facts["seed"] == 3 and second.facts == {} and second.media_type == "video/mp4"
    assert first.request == {"prompt": "ピンクの髪", "seed": 3, "raw": False}
    assert gallery.find(tmp_path, first.name) == first and gallery.find(tmp_path, "../secret.png") is None
    with pytest.raises(RequestError):
        _ = second.request
    with pytest.raises(RequestError, match="text/html"):
        gallery.keep(tmp_path, b"", "text/html")
    first.forget()
    assert [each.name for each in gallery.kept(tmp_path)] == [second.name] and not list(tmp_path.glob("*.json"))


def test_uploads_are_brought_to_what_the_model_draws() -> None:
    photo = sources.png(picture(size=(400, 301)))
    assert sources.opened(sources.fitted(photo, 128)).size == (128, 96)
    small = sources.png(picture(size=(64, 96)))
    assert sources.fitted(small, 128) is small
    with pytest.raises(RequestError):
        sources.fitted(b"no picture", 128)


def test_a_box_is_never_empty() -> None:
    assert box((128, 64), (25, 75), (0, 50)) == [32, 0, 96, 32]
    assert box((128, 64), (100, 100), (100, 100)) == [127, 63, 128, 64]


@pytest.mark.parametrize("told", ["", "x", "data:text/html;base64,AAAA", "data:image/png;base64,<script>", 3, ["a"]])
def test_only_drawings_of_our_canvas_are_taken(told: object) -> None:
    with pytest.raises(RequestError):
        drawing(told)


def test_drawings_and_positions_of_the_canvas() -> None:
    content = sources.png(picture())
    assert drawing(sources.data_url(content)) == content and drawing(None) is None
    assert position({"position": [0.5, 7]}) == (0.5, 1.0)
    for told in (None, {}, {"position": [1]}, {"position": ["a", 1]}, {"position": "ab"}):
        assert position(told) is None


def test_axes_of_a_grid_are_typed_and_cells_differ_by_them() -> None:
    assert compare.values("seed", "1, 2、x,") == ([1, 2], ["x"])
    assert compare.values("words", "笑顔、 smile") == (["笑顔", "smile"], [])
    base = {"prompt": "pink hair", "steps": 4}
    assert compare.cell(base, ("words", "smile"), ("steps", 2)) == {"prompt": "pink hair, smile", "steps": 2, "seed": 1}
    assert compare.cell({**base, "seed": 9})["seed"] == 9


def test_a_grid_is_shown_as_it_grows_and_kept_whole() -> None:
    cells = [[sources.png(picture("red")), sources.png(picture("blue"))], [sources.png(picture("lime"))]]
    shown = compare.table([1, HOSTILE], ["a", "b"], cells)
    assert shown.count("<img") == 3 and "onerror=alert" not in shown.replace("onerror=alert(1)&gt;", "")
    whole = sources.opened(compare.composed([1, 2], ["笑顔", "b"], cells))
    assert {(255, 0, 0), (0, 0, 255), (0, 255, 0)} <= {color for _, color in whole.getcolors(1 << 20) or ()}


def test_frames_of_an_emotion_lie_behind_the_first_key() -> None:
    strip = Image.new("RGB", (4 * 8, 8))
    for place, color in enumerate(("black", "red", "lime", "blue")):
        strip.paste(picture(color, (8, 8)), (8 * place, 0))
    frames, places = move.emotions(sources.png(strip), {"places": [0.0, 1.0, 1.5, 2.0]})
    assert places == [0.0, 0.5, 1.0]
    assert move.nearest(frames, places, 0.6).getpixel((0, 0)) == (0, 255, 0)
    assert move.moods(MODEL) == ["frown", "smile"]


def test_offered_readings_stand_in_a_hint_and_markdown_in_it_is_text() -> None:
    assert offers("Did you mean one of these?\n  red hair\n  red shirt") == ["red hair", "red shirt"]
    assert offers("Known: a, b.") == []
    assert plain("[x](y)*") == r"\[x\]\(y\)\*"


def test_streamlit_takes_our_options() -> None:
    assert list(flags({"a": {"b": True, "c": ["x", "y"]}})) == ["--a.b=true", "--a.c=x", "--a.c=y"]
    given = arguments(8600, "127.0.0.1", ["studio.example"])
    known = {option for command in [streamlit.commands["run"]] for each in command.params for option in each.opts}
    assert {each.partition("=")[0] for each in given if each.startswith("--")} <= known
    for wanted in (
        "--browser.gatherUsageStats=false",
        "--server.enableXsrfProtection=true",
        "--server.allowedHosts=studio.example",
    ):
        assert wanted in given


def test_the_studio_holds_no_model() -> None:
    code = "import sys, serving.studio.panels; print({'torch', 'diffusers', 'bentoml'} & sys.modules.keys())"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "set()"


def test_pngs_survive_the_way_through_a_data_url() -> None:
    content = sources.png(picture())
    with Image.open(io.BytesIO(sources.of_data_url(sources.data_url(content)))) as image:
        assert image.size == (32, 32)

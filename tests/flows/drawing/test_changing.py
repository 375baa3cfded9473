"""`kyara edit`, `kyara interpolate` and `kyara animate` on a tiny promoted model."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from components.errors import RequestError
from components.image.generation.metadata import read_png
from components.image.generation.moving import read_moving
from flows.generate import changes_of, key_frame


def test_edit(kyara):
    code, out, err = kyara(
        "edit", "expression=frown", "hair color=blue", "--prompt", "pink hair, smile", "--image", "given.png",
        "--seed", "3", "--mask", "attention", "--out", "edited.png",
    )  # fmt: skip
    assert code == 0, err
    assert "edited.png" in out
    facts = read_png(Path("edited.png").read_bytes())
    assert facts["mode"] == "edit" and facts["prompt"] == "kyarachar, blue hair, frown"
    code, _, err = kyara("edit", "wings=two", "--prompt", "smile", "--seed", "3")
    assert code == 1 and "wings" in err and "hair_color" in err


def test_interpolate(kyara):
    code, _, err = kyara(
        "interpolate", "pink hair, smile", "--to", "expression=frown", "--to", "hair_color=blue,seed=9",
        "--frames", "4", "--seed", "3", "--out", "way.png",
    )  # fmt: skip
    assert code == 0, err
    with Image.open("way.png") as image:
        assert image.size == (128, 32)
    assert read_png(Path("way.png").read_bytes())["request"]["keys"][1] == {
        "prompt": None, "change": {"hair_color": "blue"}, "seed": 9,
    }  # fmt: skip


@pytest.mark.parametrize("options", [("--to", "expression=frown"), ("--format", "gif", "--motion", "tilt")])
def test_animate(kyara, options):
    code, out, err = kyara("animate", "pink hair, smile", "--frames", "4", "--seed", "3", "--out", "moving", *options)
    assert code == 0, err
    path = Path("moving.gif" if "gif" in options else "moving.webp")
    assert str(path) in out
    frames, facts = read_moving(path.read_bytes())
    assert len(frames) > 1 and facts["mode"] == "animate"
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert image.info["loop"] == 0


def test_what_cannot_be_drawn_is_one_sentence(kyara):
    for arguments in (("animate", "smile"), ("interpolate", "smile"), ("edit", "frown")):
        code, _, err = kyara(*arguments)
        assert code == 1 and err.startswith("kyara: ") and "Traceback" not in err


def test_key_frames_in_words():
    assert key_frame("blue hair, frown") == {"prompt": "blue hair, frown"}
    assert key_frame("expression=frown, seed=9") == {"change": {"expression": "frown"}, "seed": 9}
    assert changes_of(["a=b=c"]) == {"a": "b=c"}
    for wrong in ("seed=many", "expression=", "=x"):
        with pytest.raises(RequestError):
            key_frame(wrong)
    assert json.dumps(key_frame("seed=3")) == '{"change": {}, "seed": 3}'

"""`--control` as a request's control."""

from pathlib import Path

import pytest

from components.errors import RequestError
from components.image.generation.modes import parse
from components.image.generation.pictures import read_picture
from flows.controls import parse_control
from flows.generate import asked
from tests.components.image.generation.pictures import noisy


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a=b, 0.5.png"
    noisy().save(path)
    return path


def test_pictures_numbers_and_weights(photo: Path) -> None:
    image = photo
    assert parse_control(f"sketch={photo}") == {"kind": "sketch", "from_picture": False, "image": image}
    assert parse_control(f"pose-from={photo}:0.7") == {
        "kind": "pose", "from_picture": True, "image": image, "weight": 0.7,
    }  # fmt: skip
    assert parse_control("pose=0.4,0.5,1.2,-10,mirror:1.5") == {
        "kind": "pose",
        "pose": {"position": (0.4, 0.5), "scale": 1.2, "tilt": -10.0, "mirror": True},
        "weight": 1.5,
    }
    assert parse_control("pose=0.4,0.5") == {"kind": "pose", "pose": {"position": (0.4, 0.5)}}
    assert parse_control(f"some/net={photo}") == {"kind": "picture", "model": "some/net", "image": image}


def test_a_request_of_them(photo: Path) -> None:
    controls = [parse_control(text) for text in (f"sketch-from={photo}", "pose=0.4,0.5")]
    request = asked({"prompt": "smile", "controls": controls})
    opened = [{**controls[0], "image": read_picture(photo)}, controls[1]]
    assert request.mode == "control" and request == parse({"mode": "control", "prompt": "smile", "controls": opened})
    with pytest.raises(RequestError, match="cannot be read"):
        asked({"prompt": "smile", "controls": [parse_control("sketch=nowhere.png")]})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sketch", "is wrong"),
        ("=a.png", "is wrong"),
        ("pose=0.4", "pose '0.4' is wrong"),
        ("pose=1,2,3,4,5", "is wrong"),
    ],
)
def test_what_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        parse_control(text)

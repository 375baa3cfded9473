"""Interpolation and animation on a tiny promoted model."""

import io
import math
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from components.errors import RequestError
from components.image.generation.keyframes import Frame, distance, widest
from components.image.generation.metadata import read_png, read_request
from components.image.generation.modes import parse
from components.image.generation.motion import moved_picture, times
from components.image.generation.moving import read_moving
from components.image.generator import GenerateRequest
from tests.components.image.generation.pictures import gradient, seen

FROWN = {"change": {"expression": "frown"}}


def asked(mode="interpolate", **fields):
    return parse({"mode": mode, "prompt": "pink hair, smile", "seed": 3, "frames": 4, "keys": [FROWN], **fields})


def test_a_strip_begins_and_ends_at_its_keys(tiny_generator):
    done = tiny_generator.answer(asked(hold=False))
    strip = seen(done)
    assert strip.shape == (32, 4 * 32, 3) and done.metadata["width"] == 128
    first, last = (
        seen(tiny_generator.answer(GenerateRequest(prompt=f"pink hair, {mood}", seed=3))) for mood in ("smile", "frown")
    )
    assert np.array_equal(strip[:, :32], first) and np.array_equal(strip[:, -32:], last)
    places = done.metadata["places"]
    assert places[0] == 0 and places[-1] == 1 and places == sorted(places) and len(set(places)) == 4
    assert read_png(done.content) == done.metadata


def test_seeds_and_prompts_may_be_keys_too(tiny_generator):
    keys = [{"seed": 9}, {"prompt": "blue hair, smile", "seed": 9}]
    strip = seen(tiny_generator.answer(asked(keys=keys, frames=3)))
    parts = [strip[:, 32 * at : 32 * at + 32] for at in range(3)]
    assert np.array_equal(parts[0], seen(tiny_generator.answer(GenerateRequest(prompt="pink hair, smile", seed=3))))
    assert np.abs(parts[0] - parts[1]).mean() > 1 and np.abs(parts[1] - parts[2]).max() > 0


def test_keys_of_other_lengths_go_together(tiny_generator):
    long = "blue hair, " + "very " * 30 + "long dress"
    done = tiny_generator.answer(asked(keys=[{"prompt": long}], raw=True))
    assert len(done.metadata["places"]) == 4


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_moving_pictures_answer_their_own_media_type(tiny_generator, form):
    done = tiny_generator.answer(asked("animate", format=form, loop=False))
    assert done.media_type == f"image/{form}"
    frames, facts = read_moving(done.content)
    assert 2 <= len(frames) <= 4 and frames[0].size == (32, 32)
    assert facts["seed"] == 3 and facts["mode"] == "animate"
    with Image.open(io.BytesIO(done.content)) as image:
        assert image.is_animated


def test_equal_requests_give_equal_bytes_and_previews_count(tiny_generator):
    events = list(tiny_generator.run(asked("animate")))
    assert [(event.done, event.total) for event in events[:-1]] == [(done, 16) for done in range(1, 17)]
    assert tiny_generator.answer(asked("animate")).content == events[-1].content


@pytest.mark.parametrize("form", ["png", "webp", "gif"])
def test_an_answer_says_how_to_draw_it_again(tiny_generator, form):
    """What a key frame was read as stands in it, not what was typed."""
    keys = [{"prompt": "pnik hiar, laughing"}, {"change": {"expression": "frown"}, "seed": 5}]
    done = tiny_generator.answer(asked(keys=keys, format=form))
    again = read_request(done.content)
    assert again["keys"][0]["prompt"] == "pink hair, laughing" and again["raw"] is True
    assert tiny_generator.answer(parse(again)).content[-2000:] == done.content[-2000:]


def test_a_loop_passes_its_first_frame_once(tiny_generator):
    done = tiny_generator.answer(asked("animate", frames=6))
    places = done.metadata["places"]
    assert len(places) == 6 and places[0] == 0 and 1 in places and 1 < places[-1] < 2


def test_what_does_not_change_is_held(tiny_generator):
    """Where the mask leaves places out, they are those of the first frame in every frame."""
    larger = {"frames": 3, "width": 64, "height": 64, "seed": 0, "keys": [{"change": {"background": "purple"}}]}
    held = seen(tiny_generator.answer(asked(hold=True, **larger)))
    free = seen(tiny_generator.answer(asked(hold=False, **larger)))
    assert np.array_equal(held[:, :64], free[:, :64])
    assert not np.array_equal(held[:, 64:], free[:, 64:])


@pytest.mark.parametrize("motion", ["nod", "tilt"])
def test_a_motion_alone_moves_one_picture(tiny_generator, motion):
    done = tiny_generator.answer(asked("animate", keys=[], motion=motion, frames=4))
    frames, facts = read_moving(done.content)
    assert facts["places"] == [0.0] * 4
    assert max(distance(frames[0], other) for other in frames[1:]) > 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"frames": 1}, "frames"),
        ({"frames": 2, "keys": [FROWN, FROWN]}, "too few"),
        ({"frames": 65}, "frames"),
        ({"keys": [{"change": {"wings": "two"}}]}, "'wings'"),
        ({"keys": [{"mood": "sad"}]}, "mood"),
        ({"keys": []}, "keys"),
        ({"mode": "animate", "keys": []}, "key frames or a motion"),
        ({"mode": "animate", "easing": "bounce"}, "easing"),
        pytest.param(
            {"mode": "animate", "format": "mp4"},
            "imageio-ffmpeg",
            marks=pytest.mark.skipif(find_spec("imageio_ffmpeg") is not None, reason="it is installed"),
        ),
        ({"fps": 0}, "fps"),
        ({"frames": 64, "steps": 50}, "costs"),
    ],
)
def test_wrong_values_are_one_error(tiny_generator, fields, said):
    with pytest.raises(RequestError, match=said):
        tiny_generator.answer(asked(**fields))


def frame(place, level):
    return Frame(place, None, Image.new("RGB", (4, 4), (level,) * 3))


def test_the_way_is_halved_where_neighbours_differ_most_but_not_for_ever():
    frames = [frame(0, 0), frame(0.25, 10), frame(0.5, 200), frame(1, 255)]
    assert widest(frames) == 1
    near = [frame(0, 0), frame(0.499, 10), frame(0.5, 200), frame(1, 255)]
    assert widest(near) == 2
    flat = [frame(0, 7), frame(0.25, 7), frame(1, 7)]
    assert widest(flat) == 1


@pytest.mark.parametrize("easing", ["linear", "in", "out", "in_out"])
def test_easing_keeps_the_mean_time_and_is_slow_at_its_ends(easing):
    seconds = times([frame(place / 8, 0) for place in range(8)], easing, 10)
    assert sum(seconds) == pytest.approx(0.8)
    if easing == "linear":
        assert seconds == pytest.approx([0.1] * 8)
    if easing in ("in", "in_out"):
        assert seconds[0] == max(seconds)
    if easing == "out":
        assert seconds[-1] == max(seconds)
    if easing == "in_out":
        assert seconds[1] == pytest.approx(seconds[7]) and seconds[4] == min(seconds)


@pytest.mark.parametrize("motion", ["nod", "tilt"])
def test_no_degrees_leave_a_picture_as_it_is(motion):
    assert distance(moved_picture(gradient(), motion, 0), gradient()) < 0.01


def test_a_tilt_turns_around_the_neck():
    picture = Image.new("RGB", (100, 100))
    picture.putpixel((50, 15), (255, 255, 255))
    turned = np.asarray(moved_picture(picture.resize((100, 100)), "tilt", 30).convert("L")).astype(float)
    y, x = np.unravel_index(turned.argmax(), turned.shape)
    reach = 85 - 15.5
    assert x - 50 == pytest.approx(reach * math.sin(math.radians(30)), abs=1.5)
    assert 85 - y == pytest.approx(reach * math.cos(math.radians(30)), abs=1.5)


def test_a_nod_goes_down_and_up():
    picture = Image.new("RGB", (40, 40))
    for x in range(40):
        picture.putpixel((x, 10), (255, 255, 255))
    rows = [int(np.asarray(moved_picture(picture, "nod", at).convert("L")).sum(1).argmax()) for at in (-20, 0, 20)]
    assert rows[0] < rows[1] < rows[2]

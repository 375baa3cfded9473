"""GIF and WebP: frames, time, facts; MP4 where the library is missing."""

import io
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from components.errors import RequestError
from components.image.generation.moving import MEDIA_TYPES, Shown, check_format, read_moving, to_moving

FRAMES = [Image.new("RGB", (32, 16), (40 * at, 10, 200 - 40 * at)) for at in range(5)]
FACTS = {"prompt": "青い髪, smile", "seed": 7}


@pytest.mark.parametrize("form", ["gif", "webp"])
@pytest.mark.parametrize("loop", [True, False])
def test_frames_time_and_facts_come_back(form, loop):
    content = to_moving([Shown(frame, 0.125) for frame in FRAMES], form, FACTS, loop=loop)
    frames, facts = read_moving(content)
    assert facts == FACTS
    for wanted, found in zip(FRAMES, frames, strict=True):
        assert np.abs(np.asarray(wanted).astype(int) - np.asarray(found)).max() <= (4 if form == "gif" else 0)
    with Image.open(io.BytesIO(content)) as image:
        assert Image.MIME[image.format] == MEDIA_TYPES[form]
        image.load()
        assert image.info["duration"] in (120, 125)  # GIF counts in hundredths
        endless = image.info.get("loop") == 0
    assert endless is loop


def test_equal_neighbours_of_a_gif_last_as_long_as_both():
    frames = [Shown(FRAMES[at], 0.1) for at in (0, 0, 4)]
    with Image.open(io.BytesIO(to_moving(frames, "gif", {}, loop=True))) as image:
        durations = []
        for at in range(image.n_frames):
            image.seek(at)
            durations.append(image.info["duration"])
    assert sum(durations) == 300


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imageio-ffmpeg leaves its pipes open
def test_an_mp4_lasts_as_long(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "moving.mp4"
    path.write_bytes(to_moving([Shown(frame, 0.25) for frame in FRAMES], "mp4", FACTS, loop=True))
    reader = ffmpeg.read_frames(str(path))
    told = next(reader)
    assert told["size"] == (32, 16) and told["duration"] == pytest.approx(1.25, abs=0.05)
    shown = [np.frombuffer(frame, np.uint8).reshape(16, 32, 3) for frame in reader]
    assert len(shown) == 30
    for at, frame in enumerate(FRAMES):
        assert np.abs(shown[6 * at + 3].astype(int) - np.asarray(frame)).mean() < 12


def test_a_format_that_cannot_be_written_is_refused_before_drawing():
    check_format("gif")
    if find_spec("imageio_ffmpeg") is None:
        with pytest.raises(RequestError, match="imageio-ffmpeg"):
            check_format("mp4")

"""Frames to a moving picture: GIF and WebP by Pillow, MP4 by imageio-ffmpeg where it is installed."""

import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageSequence

from components.errors import EnvironmentProblem, RequestError
from components.image.generation.request import MovingFormat

MEDIA_TYPES: Mapping[MovingFormat, str] = {"gif": "image/gif", "webp": "image/webp", "mp4": "video/mp4"}
_MP4_FPS = 24
_DESCRIPTION = 0x010E
"""EXIF ImageDescription."""


class Shown(NamedTuple):
    """A frame, RGB, and how long it is shown."""

    image: Image.Image
    seconds: float


def check_format(name: MovingFormat) -> None:
    """Raise RequestError for a format that this machine cannot write; asked before anything is drawn."""
    if name == "mp4" and find_spec("imageio_ffmpeg") is None:
        raise RequestError(
            "format 'mp4' needs imageio-ffmpeg, which is not installed here.",
            hint="Ask for webp or gif, or `pip install imageio-ffmpeg`.",
        )


def to_moving(frames: Sequence[Shown], form: MovingFormat, facts: Mapping[str, Any], *, loop: bool) -> bytes:
    """A moving picture that says what made it, in `facts` (JSON).

    Args:
        frames: of one size.
        loop: whether it plays for ever; an MP4 leaves that to its player.
    """
    return _WRITERS[form](frames, json.dumps(dict(facts), sort_keys=True), loop)


def read_moving(content: bytes) -> tuple[list[Image.Image], dict[str, Any]]:
    """Frames and facts of a GIF or WebP that `to_moving` wrote; facts are empty where it has none."""
    with Image.open(io.BytesIO(content)) as image:
        text = said_by(image)
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    try:
        facts = json.loads(text)
    except ValueError:
        facts = {}
    return frames, facts if isinstance(facts, dict) else {}


def said_by(image: Image.Image) -> str:
    """What a GIF's comment or a WebP's description says; empty without one."""
    told = image.info.get("comment") or image.getexif().get(_DESCRIPTION, "")
    return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)


def _gif(frames: Sequence[Shown], facts: str, loop: bool) -> bytes:
    """All frames in one palette, made of all of them: one of each frame's own would flicker."""
    strip = Image.fromarray(np.concatenate([np.asarray(frame.image) for frame in frames]))
    palette = strip.quantize(256, Image.Quantize.MEDIANCUT)
    still = [Shown(frame.image.quantize(palette=palette, dither=Image.Dither.NONE), frame.seconds) for frame in frames]
    options: dict[str, Any] = {"loop": 0} if loop else {}
    return _saved(still, "GIF", options | {"comment": facts.encode(), "optimize": False, "disposal": 1})


def _webp(frames: Sequence[Shown], facts: str, loop: bool) -> bytes:
    exif = Image.Exif()
    exif[_DESCRIPTION] = facts
    options: dict[str, Any] = {"loop": 0 if loop else 1, "lossless": True, "exif": exif, "minimize_size": False}
    return _saved(frames, "WEBP", options)


def _mp4(frames: Sequence[Shown], facts: str, loop: bool) -> bytes:
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "moving.mp4"
            _encode(path, frames, facts)
            return path.read_bytes()
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise EnvironmentProblem(f"ffmpeg cannot write an MP4: {reason}.", hint="Ask for webp or gif.") from error


def _encode(path: Path, frames: Sequence[Shown], facts: str) -> None:
    import imageio_ffmpeg

    options: dict[str, Any] = {"macro_block_size": 2, "output_params": ["-metadata", f"comment={facts}"]}
    writer = imageio_ffmpeg.write_frames(str(path), frames[0].image.size, fps=_MP4_FPS, **options)
    writer.send(None)
    for frame in frames:
        for _ in range(max(round(frame.seconds * _MP4_FPS), 1)):
            writer.send(np.ascontiguousarray(frame.image))
    writer.close()


def _saved(frames: Sequence[Shown], form: str, options: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    first, *others = (frame.image for frame in frames)
    durations = [round(1000 * frame.seconds) for frame in frames]
    first.save(buffer, form, save_all=True, append_images=others, duration=durations, **options)
    return buffer.getvalue()


_WRITERS: Mapping[MovingFormat, Callable[[Sequence[Shown], str, bool], bytes]] = {
    "gif": _gif,
    "webp": _webp,
    "mp4": _mp4,
}

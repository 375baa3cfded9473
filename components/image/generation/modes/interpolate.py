"""Interpolation: from a picture to others through prompts, emotions and seeds, as a strip or a moving picture."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from components.errors import RequestError
from components.image.generation.request import MAX_SEED, GenerateRequest, MovingFormat
from components.recipe import Frozen

if TYPE_CHECKING:
    from components.image.generation.canvas import Canvas, Events


class KeyFrame(Frozen):
    """What another key frame has otherwise than the request."""

    prompt: str | None = Field(None, min_length=1, max_length=2000, description="Null: the request's.")
    change: dict[str, str] = Field(
        default_factory=dict, max_length=16, description="Attribute -> value, or words of the prompt -> other words."
    )
    seed: int | None = Field(
        None,
        strict=True,
        ge=0,
        le=MAX_SEED,
        description="Of its first noise; what a student adds between its steps stays the request's.",
    )


class FramesRequest(GenerateRequest):
    """What interpolation and animation share."""

    best_of: ClassVar[bool] = False
    frames: int = Field(12, strict=True, ge=2, le=64, description="Pictures in all, the key frames among them.")
    hold: bool = Field(
        False,
        description="Where keys differ by `change` alone: draw over only what the changes are about. The rest "
        "stays to the bit then, but an emotion is reached less often.",
    )
    fps: float = Field(8, ge=1, le=30, description="Frames a second.")


class InterpolateRequest(FramesRequest):
    """The request itself is the first key frame."""

    mode: Literal["interpolate"] = "interpolate"
    keys: tuple[KeyFrame, ...] = Field(min_length=1, max_length=8, description="Key frames behind the first.")
    format: Literal["png"] | MovingFormat = Field("png", description="png: all frames side by side.")


def check_frames(request: FramesRequest, keys: int) -> None:
    """Raise RequestError where the frames do not hold the keys."""
    if request.frames < keys:
        raise RequestError(f"frames {request.frames} are too few: there are {keys} key frames.")


def draw(canvas: "Canvas", request: InterpolateRequest) -> "Events":
    """All frames, evenly spread."""
    from components.image.generation.canvas import Drawn
    from components.image.generation.keyframes import Way
    from components.image.generation.moving import MEDIA_TYPES, Shown, check_format, to_moving
    from components.image.sheets import grid

    check_frames(request, len(request.keys) + 1)
    if request.format != "png":
        check_format(request.format)
    way = Way.plan(canvas, request.keys, request.frames, hold=request.hold)
    frames = yield from way.frames()
    images = [frame.image for frame in frames]
    facts = canvas.facts(way.keys[0].plan, images[0], places=[round(frame.place, 4) for frame in frames])
    if request.format == "png":
        strip = grid(images, len(images))
        yield Drawn(strip, {**facts, "width": strip.width, "height": strip.height})
        return
    content = to_moving([Shown(image, 1 / request.fps) for image in images], request.format, facts, loop=False)
    yield Drawn(images[-1], facts, content, MEDIA_TYPES[request.format])

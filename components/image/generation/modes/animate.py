"""Animation: the same character through key frames, nodding or tilting its head, in a loop without a seam."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from components.errors import RequestError
from components.image.generation.control.pose import Pose
from components.image.generation.modes.interpolate import FramesRequest, KeyFrame, check_frames
from components.image.generation.request import MovingFormat

if TYPE_CHECKING:
    from components.image.generation.canvas import Canvas, Events

Easing = Literal["linear", "in", "out", "in_out"]
Motion = Literal["none", "nod", "tilt"]


class AnimateRequest(FramesRequest):
    """The request itself is the first key frame; with `loop` it is the last one, too."""

    mode: Literal["animate"] = "animate"
    keys: tuple[KeyFrame, ...] = Field((), max_length=8, description="Key frames behind the first.")
    easing: Easing = Field("in_out", description="How a key is left and reached; frames stay even, their times differ.")
    motion: Motion = Field("none", description="Of the head, once up and down or left and right.")
    pose: Pose | None = Field(
        None, description="The head at rest: the motion then goes through the pose ControlNet instead of an affine map."
    )
    amount: float = Field(10, gt=0, le=30, description="Of the motion, degrees.")
    loop: bool = Field(True, description="Play for ever, the end going over into the beginning.")
    format: MovingFormat = Field("webp", description="webp, gif, or mp4 where imageio-ffmpeg is installed.")


def draw(canvas: "Canvas", request: AnimateRequest) -> "Events":
    """A moving picture."""
    from components.image.generation.canvas import Drawn
    from components.image.generation.keyframes import Way
    from components.image.generation.motion import Mover, PosedMover, held_still, times
    from components.image.generation.moving import MEDIA_TYPES, Shown, check_format, to_moving

    if request.pose is not None and request.motion == "none":
        raise RequestError("pose has no effect without a motion.", hint="Give motion nod or tilt, or mode control.")
    if not request.keys and request.motion == "none":
        raise RequestError("an animation needs key frames or a motion.", hint="Give `keys`, or motion nod or tilt.")
    check_frames(request, len(request.keys) + 1)
    check_format(request.format)
    drawn = request.frames if request.keys else 1
    way = Way.plan(canvas, request.keys, drawn, hold=request.hold, closed=request.loop)
    mover: Mover | PosedMover | None = None
    swing = (request.motion, request.amount, request.frames)
    if request.pose is not None:
        mover = PosedMover.plan(way, *swing, request.pose, loop=request.loop)
    elif request.motion != "none":
        mover = Mover.plan(canvas, *swing)
    frames = yield from way.frames()
    seconds = times(frames, request.easing, request.fps)
    if mover is not None:
        if not request.keys:
            frames, seconds = held_still(frames[0], request.frames, request.fps)
        frames = yield from mover.moved(frames, loop=request.loop)
    images = [frame.image for frame in frames]
    facts = canvas.facts(way.keys[0].plan, images[0], places=[round(frame.place, 4) for frame in frames])
    shown = [Shown(*pair) for pair in zip(images, seconds, strict=True)]
    content = to_moving(shown, request.format, facts, loop=request.loop)
    yield Drawn(images[len(images) // 2], facts, content, MEDIA_TYPES[request.format])

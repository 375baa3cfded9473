"""How frames follow each other in time, and a head's motion by an affine map of its picture, drawn over lightly."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from components.contracts import Preview
from components.errors import RequestError
from components.image.generation.canvas import Canvas, Plan, pixels
from components.image.generation.control.generator import ControlledCharacterGenerator
from components.image.generation.control.pose import Pose
from components.image.generation.keyframes import Frame, Way
from components.image.generation.latent import to_images
from components.image.generation.modes.animate import Easing, Motion
from components.image.generation.modes.control import Steering

STRENGTH = 0.3
"""At which a moved picture is drawn over: enough to mend border and lines, too little to change what it shows."""
NECK = 0.85
"""Where a head turns, of the height from the top."""
_HEAD = 0.56
"""Height of a usual head, of the picture's."""
_SLOWEST = 3.0
"""Times the usual duration: easing would hold a key for ever."""


def times(frames: Sequence[Frame], easing: Easing, fps: float) -> list[float]:
    """Seconds that each frame is shown: 1 / fps on average, longer where the easing is slow.

    Frames are even along the way; of the way s(t) between two keys the time at s is in proportion to 1 / s'(t).
    """
    slow = [min(1 / max(_speed(frame.place % 1, easing), 1e-6), _SLOWEST) for frame in frames]
    mean = sum(slow) / len(slow)
    return [each / mean / fps for each in slow]


def _speed(way: float, easing: Easing) -> float:
    """ds/dt at s of s = t (linear), t^2 (in), 1 - (1 - t)^2 (out), 3 t^2 - 2 t^3 (in_out)."""
    if easing == "in":
        return 2 * math.sqrt(way)
    if easing == "out":
        return 2 * math.sqrt(1 - way)
    if easing == "in_out":
        t = 0.5 - math.sin(math.asin(1 - 2 * way) / 3)  # the inverse of smoothstep
        return 6 * t * (1 - t)
    return 1.0


def held_still(frame: Frame, count: int, fps: float) -> tuple[list[Frame], list[float]]:
    """One picture for the whole animation, to be moved."""
    return [frame] * count, [1 / fps] * count


@dataclass(frozen=True)
class Mover:
    """Moves each frame and draws it over with the noise of the seed, so that all are drawn alike."""

    canvas: Canvas
    motion: Motion
    amount: float
    plans: Sequence[Plan]

    @classmethod
    def plan(cls, canvas: Canvas, motion: Motion, amount: float, count: int) -> "Mover":
        """Counts what `count` frames cost."""
        size = canvas.size()
        return cls(canvas, motion, amount, [canvas.plan(*size, strength=STRENGTH) for _ in range(count)])

    def moved(self, frames: Sequence[Frame], *, loop: bool) -> Generator[Preview, None, list[Frame]]:
        """The frames under one full swing of the motion; without `loop` under half of it, there and back."""
        found = []
        for frame, plan, swing in zip(frames, self.plans, swings(len(frames), loop=loop), strict=True):
            image = moved_picture(frame.image, self.motion, self.amount * swing)
            latents = yield from self.canvas.sample(plan, clean=self.canvas.encode(image))
            found.append(replace(frame, latents=latents.cpu(), image=self.canvas.picture(latents)))
        return found


@dataclass(frozen=True)
class PosedMover:
    """Draws each frame anew under the pose ControlNet, from the same noise: the head moves, the camera does not."""

    canvas: Canvas
    way: Way
    poses: Sequence[Pose]

    @classmethod
    def plan(cls, way: Way, motion: Motion, amount: float, count: int, pose: Pose, *, loop: bool) -> "PosedMover":
        """Counts what `count` frames cost. Raises RequestError for a pose that a swing takes too far."""
        size = way.canvas.size()
        for _ in range(count):
            way.canvas.plan(*size, controls=1)
        return cls(way.canvas, way, [posed(pose, motion, amount * swing) for swing in swings(count, loop=loop)])

    def moved(self, frames: Sequence[Frame], *, loop: bool) -> Generator[Preview, None, list[Frame]]:
        """The frames at their places of the way, each in its pose; the swing was decided by `plan`."""
        found = []
        steered = ControlledCharacterGenerator(self.canvas)
        for frame, pose in zip(frames, self.poses, strict=True):
            plan, noise = self.way.at(frame.place)
            control = steered.control(Steering(kind="pose", pose=pose), plan.size)
            latents = yield from self.canvas.sample(plan, noise=noise, predict=steered.predict([control]))
            found.append(replace(frame, latents=latents.cpu(), image=self.canvas.picture(latents)))
        return found


def swings(count: int, *, loop: bool) -> list[float]:
    """Sines from -1 to 1 of a whole swing that begins again where it ends; without `loop` of the half to one side."""
    shares = [at / count if loop else at / max(count - 1, 1) / 2 for at in range(count)]
    return [math.sin(2 * math.pi * share) for share in shares]


def posed(pose: Pose, motion: Motion, degrees: float) -> Pose:
    """A pose turned, or nodding: its head lower by the sine of the angle, over its own height. Raises RequestError."""
    x, y = pose.position
    if motion == "tilt":
        change: dict[str, object] = {"tilt": pose.tilt + degrees}
    else:
        change = {"position": (x, y + _HEAD * pose.scale * math.sin(math.radians(degrees)))}
    try:
        return Pose.model_validate({**pose.model_dump(), **change})
    except ValidationError as error:
        raise RequestError(
            f"pose: a {motion} of {degrees:.0f} degrees takes it out of bounds: {error.errors()[0]['msg']}.",
            hint="Ask for less.",
        ) from error


def moved_picture(image: Image.Image, motion: Motion, degrees: float) -> Image.Image:
    """A picture tilted around the neck, or nodding: higher or lower and a little shorter, what is behind drawn on.

    Positive degrees tilt to the right and nod down.
    """
    moved = functional.grid_sample(
        pixels(image), _grid(motion, math.radians(degrees), image.width / image.height, image.size),
        mode="bicubic", padding_mode="border", align_corners=False,
    )  # fmt: skip
    return to_images(((moved + 1) / 2).clamp(0, 1))[0]


def _grid(motion: Motion, angle: float, aspect: float, size: tuple[int, int]) -> Tensor:
    """Where each pixel comes from, [1, H, W, 2], in torch's coordinates from -1 to 1."""
    pivot = 2 * NECK - 1
    cos, sin = math.cos(angle), math.sin(angle)
    if motion == "tilt":
        matrix = [[cos, sin / aspect, -pivot * sin / aspect], [-sin * aspect, cos, pivot * (1 - cos)]]
    else:
        squash = 1 + (sin if sin > 0 else sin / 3)  # looking down a face is foreshortened more than looking up
        matrix = [[1, 0, 0], [0, squash, pivot * (1 - squash)]]
    grid = functional.affine_grid(torch.tensor([matrix], dtype=torch.float32), [1, 3, size[1], size[0]], False)
    return grid.to(torch.float32)

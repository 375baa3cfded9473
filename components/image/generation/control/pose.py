"""Where a face is: key points, and the figure of fixed colours that a ControlNet is shown (after OpenPose, 1812.08008).

Five points: the eyes and the mouth's corners, the *leading* one first (on the side to which the face looks), and the
middle of the head. A mirrored face leads on the other side, so that the colours say what a silhouette cannot.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field

from components.recipe import Frozen

POINTS = ("leading eye", "trailing eye", "mouth's leading corner", "mouth's trailing corner", "head")
HEAD, LEADING, TRAILING, MOUTH = (64, 96, 255), (255, 64, 64), (64, 255, 64), (255, 255, 64)
_EYE, _LINE = 0.022, 0.018
"""Radius of an eye and width of a line, shares of the picture's shorter side."""
_FINE = 4
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Keypoints:
    """A face in a picture. `points` [5, 2]: x and y as shares of the picture's width and height, in `POINTS`' order.

    `radii` of the head's ellipse, shares of width and height; `tilt` in degrees, clockwise.
    """

    points: Points
    radii: tuple[float, float]
    tilt: float = 0.0

    @property
    def mirrored(self) -> bool:
        """Whether the face looks to the picture's left."""
        return bool(self.points[0, 0] < self.points[1, 0])

    @property
    def in_order(self) -> Points:
        """The points with the picture's left eye and corner first, whichever leads."""
        return self.points[[1, 0, 3, 2, 4]] if not self.mirrored else self.points

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, which `from_json` reads."""
        return {"points": self.points.round(5).tolist(), "radii": list(self.radii), "tilt": self.tilt}

    @classmethod
    def from_json(cls, data: Any) -> "Keypoints":
        """Raises ValueError (or KeyError, TypeError) for anything but five pairs of finite numbers and two radii."""
        points = np.asarray(data["points"], np.float64)
        width, height = (float(radius) for radius in data["radii"])
        if points.shape != (len(POINTS), 2) or not np.isfinite([*points.flat, width, height]).all():
            raise ValueError(f"expected {len(POINTS)} points (x, y) and 2 radii, all finite")
        if not (0 < width <= 2 and 0 < height <= 2):
            raise ValueError("radii must lie in (0, 2], shares of the picture")
        return cls(points, (width, height), float(data.get("tilt", 0.0)))


Place = Annotated[float, Field(ge=-0.5, le=1.5)]


class Pose(Frozen):
    """A face by numbers, for the model's usual portrait: scale 1, upright, in the middle, looking to the right."""

    position: tuple[Place, Place] = Field(
        (0.5, 0.5), description="Middle of the head, shares of width and height from the top left corner."
    )
    scale: float = Field(1.0, gt=0.1, le=3, description="Size of the head; 1: a usual portrait.")
    tilt: float = Field(0.0, ge=-60, le=60, description="Degrees clockwise, in the plane of the picture.")
    mirror: bool = Field(False, description="Look to the left.")

    def keypoints(self) -> Keypoints:
        """The usual face (`_USUAL`) at this place."""
        turned = similarity(self.position, self.scale, self.tilt, mirror=self.mirror)
        return Keypoints(placed(_USUAL, turned), (_RADII[0] * self.scale, _RADII[1] * self.scale), self.tilt)


_USUAL: Points = np.array([[0.13, -0.01], [-0.07, -0.01], [0.11, 0.13], [-0.01, 0.14], [0.0, 0.0]])
"""From the head's middle, shares of the picture: the mean of the embedded world's styles."""
_RADII = (0.24, 0.28)


def similarity(
    move: tuple[float, float], scale: float = 1.0, tilt: float = 0.0, *, mirror: bool = False
) -> NDArray[np.float64]:
    """The 2x3 matrix that mirrors, scales, turns by `tilt` degrees clockwise (y points down), then moves."""
    angle = math.radians(tilt)
    across = -scale if mirror else scale
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[across * cosine, -scale * sine, move[0]], [across * sine, scale * cosine, move[1]]])


def placed(points: Points, matrix: NDArray[np.float64]) -> Points:
    """Points [N, 2] under a 2x3 matrix."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def figure(face: Keypoints, size: tuple[int, int]) -> Image.Image:
    """The pose as an RGB picture of `size` (width, height): ellipse, two eyes and the mouth's line on black."""
    width, height = size[0] * _FINE, size[1] * _FINE
    short = min(width, height)
    line = max(round(_LINE * short), 1)
    canvas = _ellipse(face, (width, height), line)
    draw = ImageDraw.Draw(canvas)
    leading, trailing, first, second, _ = [(x * width, y * height) for x, y in face.points.tolist()]
    draw.line([first, second], MOUTH, line)
    for (x, y), color in ((trailing, TRAILING), (leading, LEADING)):
        radius = _EYE * short
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)
    return canvas.resize(size, Image.Resampling.BOX)


def _ellipse(face: Keypoints, size: tuple[int, int], line: int) -> Image.Image:
    """The head's outline. Pillow draws no turned ellipse: a polygon of 64 sides."""
    around = np.linspace(0, 2 * math.pi, 65)
    radii = np.array([face.radii[0] * size[0], face.radii[1] * size[1]])
    outline = np.stack([np.cos(around), np.sin(around)], axis=1) * radii
    middle = (float(face.points[4, 0] * size[0]), float(face.points[4, 1] * size[1]))
    canvas = Image.new("RGB", size)
    ImageDraw.Draw(canvas).line(
        [(x, y) for x, y in placed(outline, similarity(middle, tilt=face.tilt)).tolist()], HEAD, line, joint="curve"
    )
    return canvas


def distance(found: Points, asked: Points, side: float = 128.0) -> NDArray[np.float64]:
    """Euclidean distance of each pair of points [..., 2] in pixels of a picture of `side`, [...]."""
    return np.asarray(np.linalg.norm(np.asarray(found) - np.asarray(asked), axis=-1) * side)

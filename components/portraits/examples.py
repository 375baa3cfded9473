"""Portraits with known faces for ControlNets: what recipes plug in as `examples: portraits`.

The camera stands anywhere between two of the world's framings of one character, so that a pose is learnt as a place and
not as one of 27 words. Key points are found by drawing the same portrait with and without its eyes and its mouth.
"""

import io
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from components.image.control.examples import Example
from components.image.generation.control.pose import Keypoints, Points, placed, similarity
from components.portraits.vocabulary import BASE_STYLES, values
from components.portraits.world.captions import caption
from components.portraits.world.renders import Portrait, sample_portraits, svg

_CAMERA = re.compile(
    r'<g transform="translate\((?P<x>[-\d.]+) (?P<y>[-\d.]+)\) rotate\((?P<tilt>[-\d.]+)\) '
    r'scale\((?P<across>[-\d.]+) (?P<zoom>[-\d.]+)\) translate\((?P<left>[-\d.]+) (?P<up>[-\d.]+)\)">'
)
_SIDE = re.compile(r'viewBox="0 0 ([\d.]+) ')
_LAYOUT = ("position", "scale", "tilt")
_CAPTIONS = 4
_FINE = 256
"""Side of the drawings in which parts of a face are found, pixels."""


@dataclass(frozen=True)
class _Style:
    """A style's head on its canvas, in shares of the side; `covers` are parts that may hide eyes or mouth."""

    head: tuple[float, float]
    radii: tuple[float, float]
    eyes: str
    mouth: str
    covers: tuple[str, ...]
    looks: str
    nose: float | None = None


_STYLES: Mapping[str, _Style] = {
    "adventurer": _Style((0.475, 0.52), (0.29, 0.27), "eyes", "mouth", ("hair", "glasses"), "left"),
    "toon-head": _Style((0.50, 0.52), (0.21, 0.25), "eyes", "mouth", ("hair",), "right"),
    "micah": _Style((0.50, 0.46), (0.22, 0.27), "eyes", "mouth", ("hair", "glasses"), "right"),
    "open-peeps": _Style((0.55, 0.53), (0.19, 0.24), "expression", "expression", ("accessories",), "right", nose=0.575),
    "lorelei": _Style((0.55, 0.49), (0.20, 0.28), "eyes", "mouth", ("glasses",), "right"),
}
"""By eye, from drawings of every style; `nose`: above it are the eyes, below the mouth, where one part draws both."""


@dataclass(frozen=True)
class Camera:
    """The renderer's: a point of the canvas comes to (x, y) of the frame, scaled, turned and perhaps mirrored.

    All lengths in shares of the side, `tilt` in degrees clockwise.
    """

    x: float
    y: float
    tilt: float
    zoom: float
    mirror: bool
    middle: tuple[float, float]

    @classmethod
    def of(cls, document: str) -> "Camera":
        """The camera of a portrait's SVG document."""
        side = _side(document)
        found = _CAMERA.search(document)
        assert found is not None, "a portrait begins with its camera"
        x, y, tilt, across, zoom, left, up = (float(text) for text in found.groups())
        return cls(x / side, y / side, tilt, zoom, across < 0, (-left / side, -up / side))

    def towards(self, other: "Camera", share: float) -> "Camera":
        """The camera at `share` of the way to another one of the same character."""

        def between(here: float, there: float) -> float:
            return here + share * (there - here)

        return replace(
            self,
            x=between(self.x, other.x),
            y=between(self.y, other.y),
            tilt=between(self.tilt, other.tilt),
            zoom=between(self.zoom, other.zoom),
        )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Canvas to frame, 2x3."""
        turned = similarity((0.0, 0.0), self.zoom, self.tilt, mirror=self.mirror)
        turned[:, 2] = np.array([self.x, self.y]) - turned[:, :2] @ np.array(self.middle)
        return turned

    def written(self, side: float) -> str:
        """As the SVG group that it opens."""
        across = -self.zoom if self.mirror else self.zoom
        return (
            f'<g transform="translate({self.x * side:.2f} {self.y * side:.2f}) rotate({self.tilt:.2f}) '
            f"scale({across:.4f} {self.zoom:.4f}) "
            f'translate({-self.middle[0] * side:.2f} {-self.middle[1] * side:.2f})">'
        )


class PortraitExamples:
    """See `components.image.control.examples.Examples`; groups are the drawing styles."""

    license, artist = "CC-BY-4.0", "see data/ATTRIBUTION.md"

    def draw(
        self,
        count: int,
        seed: int,
        size: int,
        *,
        held_out: bool = False,
        groups: Sequence[str] = (),
        named: bool = True,
    ) -> Iterator[Example]:
        rng = random.Random(f"examples/{seed}/{held_out}")
        for portrait in sample_portraits(count, seed, tuple(groups) or BASE_STYLES, held_out):
            yield example(portrait, rng, size, named=named)


def example(portrait: Portrait, rng: random.Random, size: int, *, named: bool = True) -> Example:
    """A portrait seen from anywhere between its own framing and another one's."""
    document = svg(portrait)
    framings = {name: rng.choice(values(portrait.style, name)) for name in _LAYOUT}
    other = replace(portrait, attributes={**portrait.attributes, **framings})
    camera = Camera.of(document).towards(Camera.of(svg(other)), rng.random())
    face = keypoints(portrait.style, document, camera)
    said = replace(portrait, attributes={k: v for k, v in portrait.attributes.items() if k not in (*_LAYOUT, "facing")})
    style = portrait.style if named else None
    words = tuple(dict.fromkeys(caption(said, rng, style_word=style) for _ in range(_CAPTIONS)))
    return Example(_pixels(_seen_by(document, camera), size), words, face, portrait.style)


def portrait_face(portrait: Portrait) -> Keypoints:
    """The key points of a portrait as the world renders it."""
    document = svg(portrait)
    return keypoints(portrait.style, document, Camera.of(document))


def keypoints(style: str, document: str, camera: Camera) -> Keypoints:
    """The key points of a portrait's SVG document in the frame of a camera."""
    known = _STYLES[style]
    points = placed(_canvas_points(style, document), camera.matrix)
    return Keypoints(points, (known.radii[0] * camera.zoom, known.radii[1] * camera.zoom), camera.tilt)


_found: dict[tuple[str, ...], Points] = {}


def _canvas_points(style: str, document: str) -> Points:
    """The five points on the style's canvas, as the artist drew them; found once for each pair of eyes and mouth."""
    known = _STYLES[style]
    names = tuple(_variant(document, part) for part in dict.fromkeys((known.eyes, known.mouth)))
    key = (style, *names)
    if key not in _found:
        _found[key] = _find(style, document)
    return _found[key]


def _find(style: str, document: str) -> Points:
    known = _STYLES[style]
    plain = _without(_CAMERA.sub("<g>", document, count=1), *known.covers)
    whole = np.asarray(_pixels(plain, _FINE)).astype(np.int16)
    eyes = _changed(whole, _without(plain, known.eyes))
    mouth = _changed(whole, _without(plain, known.mouth))
    if known.nose is not None:
        line = round(known.nose * _FINE)
        eyes[line:], mouth[: line + round(0.03 * _FINE)] = False, False
    left, right = _halves(eyes)
    corners = _corners(mouth)
    ordered = (right, left, corners[1], corners[0]) if known.looks == "right" else (left, right, *corners)
    return np.array([*ordered, known.head])


def _changed(whole: NDArray[np.int16], without: str) -> NDArray[np.bool_]:
    other = np.asarray(_pixels(without, _FINE)).astype(np.int16)
    return np.asarray(np.abs(whole - other).max(2) > 24)


def _halves(part: NDArray[np.bool_]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Middles of the left and the right half of what a pair of eyes draws, shares of the side."""
    across = np.nonzero(part)[1]
    cut = (across.min() + across.max()) / 2
    columns = np.arange(part.shape[1])[None, :]
    return _middle(part & (columns <= cut)), _middle(part & (columns > cut))


def _middle(part: NDArray[np.bool_]) -> tuple[float, float]:
    rows, columns = np.nonzero(part)
    side = part.shape[0]
    return float((columns.min() + columns.max() + 1) / 2 / side), float((rows.min() + rows.max() + 1) / 2 / side)


def _corners(part: NDArray[np.bool_]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The mouth's left and right end, at its middle height."""
    columns = np.nonzero(part)[1]
    side, height = part.shape[0], _middle(part)[1]
    return (float(columns.min() / side), height), (float((columns.max() + 1) / side), height)


def _variant(document: str, part: str) -> str:
    found = re.search(rf'<use [^>]*href="#({re.escape(part)}-[^"]+)-[0-9a-f]+"', document)
    return "" if found is None else found[1]


def _without(document: str, *parts: str) -> str:
    """The document with these parts left out."""
    names = "|".join(map(re.escape, parts))
    return re.sub(rf'<use [^>]*href="#(?:{names})-[^"]*"\s*/>', "", document)


def _seen_by(document: str, camera: Camera) -> str:
    return _CAMERA.sub(camera.written(_side(document)), document, count=1)


def _side(document: str) -> float:
    found = _SIDE.search(document)
    assert found is not None, "an SVG document has a viewBox"
    return float(found[1])


def _pixels(document: str, size: int) -> Image.Image:
    png = resvg_py.svg_to_bytes(svg_string=document, width=size, height=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGB")


EXAMPLES = PortraitExamples()
"""The plug-in."""

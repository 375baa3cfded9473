"""Pictures with known attributes: portraits drawn by artists, composed by DiceBear, framed by our own camera."""

import argparse
import hashlib
import io
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import resvg_py
from dicebear import Avatar
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from components.artifact import replacing, write_bytes
from components.portraits.vocabulary import ATTRIBUTES, BASE_STYLES, STYLES, VARIANTS, covered, values
from components.portraits.world import drawing

COLORS: Mapping[str, Mapping[str, str]] = {
    "hair_color": {
        "black": "#41404f", "brown": "#714025", "blonde": "#f8d45c", "orange": "#f78a2c", "red": "#d42c3c",
        "pink": "#f783bd", "purple": "#9450d6", "blue": "#3f78ea", "green": "#38a85a", "white": "#e4e9f5",
    },
    "skin": {"fair": "#fde0cc", "tan": "#e3a877", "dark": "#b0714a"},
    "clothes_color": {
        "red": "#d33a3a", "blue": "#2f63c9", "green": "#36a352", "yellow": "#f7cb2d", "white": "#f8f9fa",
        "black": "#3d3d4a",
    },
    "background": {
        "white": "#ffffff", "gray": "#a9aeb9", "black": "#1a1a24", "blue": "#a3d5ff", "green": "#b3ecc3",
        "yellow": "#fff1a8", "pink": "#ffc9dd", "purple": "#d3c0f8",
    },
}  # fmt: skip
INK = "#000000"
"""The colour of every artist's lines."""
_CLASHING_PAIRS = (("hair_color", "skin"), ("hair_color", "background"), ("skin", "background"),
                   ("clothes_color", "background"), ("clothes_color", "skin"))  # fmt: skip
_LEAST_DISTANCE = 15.0
"""CIE76 distance in Lab below which two neighbouring areas could be taken for one (2.3 is just noticeable)."""

_SCALE: Mapping[str, float] = {"close": 1.27, "normal": 1.0, "far": 0.8}
_SHIFT: Mapping[str, float] = {"left": -0.13, "center": 0.0, "right": 0.13}
_TILT: Mapping[str, float] = {"left": -15.0, "none": 0.0, "right": 15.0}
_USUAL: Mapping[str, str] = {"position": "center", "scale": "normal", "tilt": "none"}
"""What is drawn twice as often as the other values: what people mean when they say nothing."""
_PARTS = 32
"""Side of the maps that say where the small parts of a face are."""
_CHANGED = 24
"""Difference of a colour, of 255, from which a pixel belongs to a part."""
Split = Literal["train", "select", "calibrate", "report"]
_SPLITS: tuple[Split, ...] = ("report", "report", "select", "calibrate")
_TWENTIETHS = 20
_CANVAS_CLIP = re.compile(r' clip-path="url\(#clip-[0-9a-f]+\)"')


@dataclass(frozen=True)
class Portrait:
    """What a picture shows. `seed` decides the variant within a coarse value and the small jitter of the camera."""

    style: str
    attributes: Mapping[str, str]
    seed: int

    @property
    def visible(self) -> dict[str, str]:
        """The attributes that can be seen: what captions tell and the judge learns."""
        hidden = covered(self.style, self.attributes)
        return {name: value for name, value in self.attributes.items() if name not in hidden}

    def as_json(self) -> dict[str, Any]:
        return {"style": self.style, "attributes": dict(self.attributes), "seed": self.seed}


@dataclass(frozen=True)
class _Framing:
    """How a style sits in the frame; lengths are shares of its canvas.

    `face` is the centre of the face, `zoom` brings all styles to a like size, `floor` is where the drawn body ends
    (it must stay below the frame; None: there is no body), `looks` is the direction that the artist drew.
    """

    face: tuple[float, float]
    zoom: float
    floor: float | None
    looks: str
    palette: Mapping[str, str]


_FRAMING: Mapping[str, _Framing] = {
    "adventurer": _Framing((0.47, 0.50), 1.08, None, "left", {"hair_color": "hair", "skin": "skin"}),
    "toon-head": _Framing(
        (0.50, 0.48), 1.18, 1.0, "front", {"hair_color": "hair", "skin": "skin", "clothes_color": "clothes"}
    ),
    "micah": _Framing(
        (0.50, 0.44), 1.10, 1.09, "right", {"hair_color": "hair", "skin": "base", "clothes_color": "shirt"}
    ),
    "open-peeps": _Framing(
        (0.53, 0.46), 1.09, 1.40, "right", {"hair_color": "headContrast", "skin": "skin", "clothes_color": "clothing"}
    ),
    "lorelei": _Framing((0.50, 0.43), 1.20, 0.90, "right", {"hair_color": "hair", "skin": "skin"}),
}
_FIXED_COLORS: Mapping[str, Mapping[str, str]] = {
    "adventurer": {"earrings": drawing.GOLD},
    "toon-head": {},
    "micah": {"glasses": "#000000", "earring": drawing.GOLD},
    "open-peeps": {},
    "lorelei": {"earrings": drawing.GOLD},
}


@cache
def _lab(color: str) -> tuple[float, float, float]:
    """CIE L*a*b* (D65) of `#rrggbb`."""
    srgb = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in srgb)
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def clashes(attributes: Mapping[str, str]) -> bool:
    """Whether two areas that touch have colours so near that one could not be told from the other."""
    for one, other in _CLASHING_PAIRS:
        if one in attributes and other in attributes:
            pair = COLORS[one][attributes[one]], COLORS[other][attributes[other]]
            if math.dist(_lab(pair[0]), _lab(pair[1])) < _LEAST_DISTANCE:
                return True
    return False


def is_held_out(portrait: Portrait) -> bool:
    """Whether this combination of hair colour, hair style and background is kept out of every training set."""
    return is_held_out_combination(portrait.attributes)


def is_held_out_combination(attributes: Mapping[str, str]) -> bool:
    """As `is_held_out`, for bare attributes."""
    return split_of(attributes) != "train"


def split_of(attributes: Mapping[str, str]) -> Split:
    """The only set that may hold this combination of hair colour, hair style and background.

    By a hash: of twenty combinations about two are *report*'s, one *select*'s, one *calibrate*'s, the rest *train*'s.
    """
    key = "/".join(attributes[name] for name in ("hair_color", "hair_style", "background"))
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % _TWENTIETHS
    return _SPLITS[place] if place < len(_SPLITS) else "train"


def sample_portrait(rng: random.Random, style: str, held_out: bool = False) -> Portrait:
    """A portrait of all that `style` shows, from the held-out combinations or from the others.

    Values are drawn uniformly (but see `_USUAL`); what clashes is drawn again under the same hair colour, so that those
    stay balanced.
    """
    hair_color = rng.choice(ATTRIBUTES["hair_color"])
    while True:
        drawn = {name: _draw(rng, name, offered) for name in ATTRIBUTES if (offered := values(style, name))}
        drawn["hair_color"] = hair_color
        if is_held_out_combination(drawn) is held_out and not clashes(drawn):
            return Portrait(style, drawn, rng.randrange(2**31))


def _draw(rng: random.Random, attribute: str, offered: Sequence[str]) -> str:
    usual = _USUAL.get(attribute)
    return rng.choice([*offered, usual] if usual else offered)


def _rng(portrait: Portrait, purpose: str) -> random.Random:
    """One stream a purpose: changing one attribute leaves everything else of the character as it was."""
    return random.Random(f"{portrait.style}/{portrait.seed}/{purpose}")


def _options(portrait: Portrait) -> dict[str, Any]:
    """DiceBear's options: every optional part off, then the parts that draw the portrait's values."""
    components = drawing.definition(portrait.style)["components"]
    options: dict[str, Any] = {f"{name}Probability": 0 for name, part in components.items() if "probability" in part}
    options |= {f"{name}Color": color for name, color in _FIXED_COLORS[portrait.style].items()}
    for name, slot in _FRAMING[portrait.style].palette.items():
        options[f"{slot}Color"] = COLORS[name][portrait.attributes[name]]
    for attribute, table in VARIANTS[portrait.style].items():
        offered = table[""] if "" in table else table[portrait.attributes[attribute]]
        for part, variant in _rng(portrait, attribute).choice(offered).items():
            options |= {f"{part}Variant": variant, f"{part}Probability": 100}
    return options | {"seed": str(portrait.seed)}


def _camera(portrait: Portrait, side: float) -> str:
    """The SVG transform that puts the face where position, scale, tilt and facing ask for it; `side`: of the canvas."""
    framing, asked, rng = _FRAMING[portrait.style], portrait.attributes, _rng(portrait, "camera")
    zoom = framing.zoom * _SCALE[asked["scale"]] * rng.uniform(0.97, 1.03)
    x = 0.5 + _SHIFT[asked["position"]] / _SCALE[asked["scale"]] + rng.uniform(-0.015, 0.015)
    y = (0.5 if framing.floor is None or asked["scale"] == "close" else 0.47) + rng.uniform(-0.015, 0.015)
    if framing.floor is not None:
        lowest = 1.02 if asked["tilt"] == "none" else 1.07
        y = max(y, lowest - zoom * (framing.floor - framing.face[1]))
    mirrored = asked.get("facing", framing.looks) != framing.looks
    tilt = _TILT[asked["tilt"]] + rng.uniform(-2.0, 2.0)
    across = -zoom if mirrored else zoom
    return (
        f"translate({x * side:.2f} {y * side:.2f}) rotate({tilt:.2f}) scale({across:.4f} {zoom:.4f}) "
        f"translate({-framing.face[0] * side:.2f} {-framing.face[1] * side:.2f})"
    )


def svg(portrait: Portrait, transparent: bool = False, bare: bool = False) -> str:
    """The portrait as an SVG document; `bare`: without the small parts of the face."""
    drawn = Avatar(drawing.style(portrait.style, bare), _options(portrait)).to_string()
    body = _CANVAS_CLIP.sub("", drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")])
    side = float(drawing.definition(portrait.style)["canvas"]["width"])
    color = "none" if transparent else COLORS["background"][portrait.attributes["background"]]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" fill="none">'
        f'<rect width="100%" height="100%" fill="{color}"/>'
        f'<g transform="{_camera(portrait, side)}">{body}</g></svg>'
    )


def render(portrait: Portrait, size: int = 128, bare: bool = False) -> Image.Image:
    """The portrait as an RGB picture of `size` x `size` pixels; the same portrait gives the same pixels."""
    drawn = svg(portrait, bare=bare)
    png = resvg_py.svg_to_bytes(svg_string=drawn, width=size, height=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGB")


def meant(asked: Mapping[str, str], style: str, seed: int) -> Image.Image:
    """A true render of what a prompt asks for, as far as the style can show it; the rest by the seed."""
    rng = random.Random(seed)
    drawn = dict(sample_portrait(rng, style).attributes)
    drawn |= {name: value for name, value in asked.items() if value in values(style, name)}
    return render(Portrait(style, drawn, rng.randrange(2**31)))


def face_map(portrait: Portrait, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Where `picture` (its render) shows eyes, mouth, glasses, earrings: share of changed pixels, 0..255 [32, 32].

    Exact, because the renderer can draw the same portrait without them.
    """
    bare = np.asarray(render(portrait, picture.shape[0], bare=True))
    changed = np.abs(picture.astype(np.int16) - bare.astype(np.int16)).max(2) > _CHANGED
    cell = picture.shape[0] // _PARTS
    share = changed.reshape(_PARTS, cell, _PARTS, cell).mean((1, 3))
    return np.asarray((255 * share).round(), np.uint8)


def sample_portraits(
    count: int, seed: int, styles: Sequence[str] = BASE_STYLES, held_out: bool = False
) -> list[Portrait]:
    """`count` portraits, the styles in turn, all decided by `seed`."""
    rng = random.Random(f"portraits/{seed}/{held_out}")
    return [sample_portrait(rng, styles[i % len(styles)], held_out) for i in range(count)]


Drawn = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def _pixels(portrait: Portrait, size: int) -> Drawn:
    """The picture and its `face_map`."""
    picture = np.asarray(render(portrait, size))
    return picture, face_map(portrait, picture)


def _render_all(portraits: Sequence[Portrait], size: int, workers: int) -> Iterator[Drawn]:
    draw = partial(_pixels, size=size)
    if workers < 2:
        yield from map(draw, portraits)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(draw, portraits, chunksize=32)


def build(
    out: Path,
    count: int,
    seed: int,
    styles: Sequence[str] = BASE_STYLES,
    held_out: bool = False,
    size: int = 128,
    workers: int = 1,
) -> Path:
    """Render a labelled set to `out`, a `.npz`, and its `.json`.

    The `.npz` holds `images` uint8 [N, size, size, 3] and `faces` uint8 [N, 32, 32] (see `face_map`).

    The JSON is the list of portraits in the same order. Each file appears whole or not at all, the `.npz` last.
    """
    portraits = sample_portraits(count, seed, styles, held_out)
    pictures = np.empty((count, size, size, 3), dtype=np.uint8)
    drawn = track(_render_all(portraits, size, workers), f"render {out.stem}", total=count)
    faces = np.empty((count, _PARTS, _PARTS), dtype=np.uint8)
    for i, (picture, face) in enumerate(drawn):
        pictures[i], faces[i] = picture, face
    out.parent.mkdir(parents=True, exist_ok=True)
    labels = json.dumps([portrait.as_json() for portrait in portraits])
    write_bytes(out.with_suffix(".json"), labels.encode())
    with replacing(out) as temporary:
        np.savez_compressed(temporary, images=pictures, faces=faces)
    return out


def _foreign(place: int, seed: int, size: int) -> NDArray[np.uint8]:
    """Any picture of any style, as DiceBear draws it, on one of our backgrounds."""
    rng = random.Random(f"foreign/{seed}/{place}")
    name = rng.choice(drawing.every_style())
    drawn = Avatar(drawing.untouched(name), {"seed": f"{seed}/{place}"}).to_string()
    png = resvg_py.svg_to_bytes(svg_string=drawn, width=size, height=size, skip_system_fonts=True)
    picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    ground = Image.new("RGBA", picture.size, rng.choice([*COLORS["background"].values()]))
    return np.asarray(Image.alpha_composite(ground, picture).convert("RGB"))


def build_foreign(out: Path, count: int, seed: int, size: int = 128, workers: int = 1) -> Path:
    """Render pictures of every DiceBear style to `out` (a `.npz` with `images`): what an autoencoder may see.

    Never for the base model, the judge or the demo.
    """
    draw = partial(_foreign, seed=seed, size=size)
    with ProcessPoolExecutor(workers) as pool:
        drawn = track(pool.map(draw, range(count), chunksize=32), f"render {out.stem}", total=count)
        pictures = np.stack(list(drawn))
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        np.savez_compressed(temporary, images=pictures)
    return out


def load_pictures(path: Path) -> NDArray[np.uint8]:
    """The pictures that `build` or `build_foreign` wrote, uint8 [N, size, size, 3]."""
    with np.load(path) as archive:
        images: NDArray[np.uint8] = archive["images"]
    return images


def load(path: Path) -> tuple[NDArray[np.uint8], list[Portrait]]:
    """What `build` wrote: images uint8 [N, size, size, 3] and their portraits."""
    return load_pictures(path), [Portrait(**row) for row in json.loads(path.with_suffix(".json").read_text("utf-8"))]


def load_faces(path: Path) -> NDArray[np.uint8]:
    """The `face_map` of each picture that `build` wrote, [N, 32, 32]."""
    with np.load(path) as archive:
        faces: NDArray[np.uint8] = archive["faces"]
    return faces


def main() -> None:
    """`python -m components.portraits.world.renders --out FILE.npz --count N`: render a labelled set."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--styles", nargs="+", default=list(BASE_STYLES), choices=STYLES)
    parser.add_argument("--held-out", action="store_true", help="only the combinations that training never sees")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    build(asked.out, asked.count, asked.seed, asked.styles, asked.held_out, workers=asked.workers)


if __name__ == "__main__":
    main()

"""Near-duplicates by perceptual hash, checked in colour: the same drawing with other hair is another picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

_THUMB = 16
_SAME_COLORS = 12.0
"""Mean absolute difference of thumbnails, 0 to 255, up to which two pictures of equal hash are one (JPEG, resizing)."""


@dataclass(frozen=True)
class Look:
    """What a picture looks like in short: 64-bit DCT hash (Zauner 2010, section 3.2.1), and a thumbnail in colour."""

    hash: int
    thumb: NDArray[np.int16]


def look(image: Image.Image) -> Look:
    """Hash and thumbnail of an RGB picture."""
    small = image.resize((_THUMB, _THUMB), Image.Resampling.BOX, reducing_gap=2.0)
    return Look(int(str(imagehash.phash(image)), 16), np.asarray(small, dtype=np.int16))


def partners(looks: Sequence[Look], distance: int) -> dict[int, tuple[int, int]]:
    """Index of each duplicate -> (index of the picture that stays, bits between their hashes).

    An earlier picture wins over a later one, so order them best first. One numpy comparison a picture.
    """
    hashes = np.array([item.hash for item in looks], dtype=np.uint64)
    kept: list[int] = []
    found: dict[int, tuple[int, int]] = {}
    for index in range(len(looks)):
        bits = np.bitwise_count(hashes[kept] ^ hashes[index])
        near = [
            int(place) for place in np.flatnonzero(bits <= distance) if _same_colors(looks[kept[place]], looks[index])
        ]
        if near:
            best = min(near, key=lambda place: int(bits[place]))
            found[index] = (kept[best], int(bits[best]))
        else:
            kept.append(index)
    return found


def _same_colors(one: Look, other: Look) -> bool:
    return float(np.abs(one.thumb - other.thumb).mean()) <= _SAME_COLORS

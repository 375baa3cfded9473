"""Where the lines of a picture are: maps of the differences of neighbouring pixels in four directions, and how far two
pictures' lines lie apart. Colours do not matter.
"""

import numpy as np
from numpy.typing import NDArray

from components.portraits.judge import Pictures, as_tensor

Maps = NDArray[np.float32]

CELLS = 32
_SHIFTS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def line_maps(pictures: Pictures, size: int) -> Maps:
    """`gradient_maps` of pictures of any size, brought to `size` first."""
    pixels = (as_tensor(pictures, size) + 1.0) * 127.5
    return gradient_maps(pixels.round().byte().permute(0, 2, 3, 1).numpy())


def gradient_maps(images: NDArray[np.uint8]) -> Maps:
    """Strength of lines across four directions, float32 [N, 4, 32, 32] in 0..1, of pictures uint8 [N, S, S, 3].

    The difference of two pixels is that of the colour channel in which they differ most.
    """
    pixels = images.astype(np.float32) / 255.0
    side = pixels.shape[1]
    maps = np.zeros((len(images), len(_DIRECTIONS), side, side), np.float32)
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    for place, (down, right) in enumerate(_DIRECTIONS):
        moved = padded[:, 1 + down : 1 + down + side, 1 + right : 1 + right + side]
        maps[:, place] = np.abs(moved - pixels).max(-1)
    cell = side // CELLS
    pooled = maps.reshape(len(images), len(_DIRECTIONS), CELLS, cell, CELLS, cell).mean((3, 5))
    return np.asarray(pooled, np.float32)


def distances(maps: Maps, others: Maps) -> NDArray[np.float32]:
    """From one picture's maps [4, h, w] to each of `others` [M, 4, h, w]: sum of differences over sum of both, [M].

    0 for the same lines, 1 for lines in other places only; the least over shifts by one cell.
    """
    best = np.full(len(others), np.inf, np.float32)
    for down, right in _SHIFTS:
        here, there = _overlap(maps[None], others, down, right)
        above = np.abs(here - there).sum((1, 2, 3))
        best = np.minimum(best, above / np.maximum(here.sum((1, 2, 3)) + there.sum((1, 2, 3)), 1e-6))
    return best


def _overlap(one: Maps, other: Maps, down: int, right: int) -> tuple[Maps, Maps]:
    """The parts of two stacks of maps that cover each other when `other` is moved."""
    height, width = one.shape[-2:]
    rows, columns = slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0))
    back = slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0))
    return one[..., rows, columns], other[..., back[0], back[1]]

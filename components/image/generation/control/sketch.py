"""Line art from a picture, and how well two line drawings agree.

Lines are found as Canny does (IEEE TPAMI 8(6), 1986), with scipy's filters: gradient of the smoothed picture, its
crests, then every weak crest that hangs together with a strong one.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Lines = NDArray[np.bool_]

_SIGMA = 128.0
"""Pixels of the shorter side for each pixel of smoothing."""
_WEAK, _STRONG = 0.05, 0.12
"""Of the steepest gradient that a picture can have after smoothing."""
TOLERANCE = 2.0
"""Pixels of a 128-pixel side by which a line may lie beside the asked one."""


def find_lines(picture: Image.Image) -> Lines:
    """Where the picture has edges, [height, width]; the strongest colour channel decides at each pixel."""
    pixels = np.asarray(picture.convert("RGB"), np.float64) / 255
    sigma = max(min(pixels.shape[:2]) / _SIGMA, 0.7)
    smooth = ndimage.gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest")
    down, across = np.gradient(smooth, axis=(0, 1))
    strongest = np.argmax(down**2 + across**2, axis=2)[..., None]
    down, across = (np.take_along_axis(part, strongest, 2)[..., 0] for part in (down, across))
    steep = np.hypot(down, across) * sigma * np.sqrt(2 * np.pi)  # 1 at a step from black to white
    crest = (steep > _WEAK) & _is_crest(steep, down, across)
    parts, _ = ndimage.label(crest, np.ones((3, 3)))
    kept = np.unique(parts[crest & (steep > _STRONG)])
    return np.asarray(np.isin(parts, kept[kept > 0]))


def _is_crest(steep: NDArray[np.float64], down: NDArray[np.float64], across: NDArray[np.float64]) -> Lines:
    """Whether a pixel is no less steep than its neighbours along the gradient."""
    length = np.maximum(np.hypot(down, across), 1e-12)
    rows, columns = np.indices(steep.shape, dtype=np.float64)
    across, down = across / length, down / length
    beside = [
        ndimage.map_coordinates(steep, [rows + way * down, columns + way * across], order=1, mode="nearest")
        for way in (-1.0, 1.0)
    ]
    return np.asarray((steep >= beside[0]) & (steep > beside[1]))


def drawn(lines: Lines) -> Image.Image:
    """Lines as a ControlNet is shown them: white on black, RGB."""
    return Image.fromarray(np.where(lines, 255, 0).astype(np.uint8)).convert("RGB")


def given(picture: Image.Image) -> Image.Image:
    """A user's line drawing, white on black, also where it came black on white."""
    values = np.asarray(picture.convert("L"))
    return Image.fromarray(255 - values if float(np.median(values)) > 127 else values).convert("RGB")


def agreement(found: Lines, asked: Lines) -> float:
    """F1 of two drawings [h, w]: the harmonic mean of the shares of each one's lines within `TOLERANCE` of the other's.

    1 where neither has a line, 0 where only one has.
    """
    if not found.any() or not asked.any():
        return float(found.any() == asked.any())
    reach = TOLERANCE * min(asked.shape) / 128
    precision = float((ndimage.distance_transform_edt(~asked)[found] <= reach).mean())
    recall = float((ndimage.distance_transform_edt(~found)[asked] <= reach).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

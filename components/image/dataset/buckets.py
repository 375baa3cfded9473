"""Aspect-ratio buckets: pictures of like shape share a batch, so that little is cropped away."""

import math
from collections.abc import Sequence

from PIL import Image, ImageOps

Size = tuple[int, int]


def bucket_sizes(resolution: int, unit: int) -> tuple[Size, ...]:
    """(width, height) in multiples of `unit`, sides from half to double `resolution`, area at most its square."""
    smallest = max(unit, resolution // 2 // unit * unit)
    sizes = {square(resolution, unit)}
    for long in range(max(unit, resolution // unit * unit), 2 * resolution + 1, unit):
        short = min(resolution * resolution // long, long) // unit * unit
        if short >= smallest:
            sizes |= {(long, short), (short, long)}
    return tuple(sorted(sizes))


def square(resolution: int, unit: int) -> Size:
    """The square nearest below `resolution` whose side is a multiple of `unit`."""
    side = max(unit, resolution // unit * unit)
    return side, side


def nearest_bucket(size: Size, buckets: Sequence[Size]) -> Size:
    """The bucket whose aspect ratio is nearest (as a factor); the larger of two that are equally near."""
    ratio = math.log(size[0] / size[1])
    return min(
        buckets, key=lambda bucket: (round(abs(math.log(bucket[0] / bucket[1]) - ratio), 9), -bucket[0] * bucket[1])
    )


def fit(image: Image.Image, size: Size) -> Image.Image:
    """Resize to cover `size`, then crop the centre."""
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def crop_corner(original: Size, size: Size) -> tuple[int, int]:
    """(left, top) in pixels of what `fit` leaves of a picture of size `original`, once it is resized."""
    scale = max(size[0] / original[0], size[1] / original[1])
    left, top = (round((side * scale - kept) / 2) for side, kept in zip(original, size, strict=True))
    return left, top

"""Pixels of any picture file as upright 8-bit RGB. What is too large, or refused, is the callers' to say."""

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

Color = tuple[int, int, int]

Image.init()
FORMATS = tuple(name for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF") if name in Image.OPEN)
"""What is opened at all; Pillow's rarer decoders (EPS runs a program) stay out of reach of a downloaded folder."""


@contextlib.contextmanager
def own_limits() -> Iterator[None]:
    """Pillow's fixed pixel limit gives way to the callers' own, and its warnings about odd files to their reasons."""
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = usual


def upright(image: Image.Image) -> Image.Image:
    """The first frame, decoded, its EXIF orientation applied."""
    image.seek(0)
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF; the pixels have been decoded
        return image.copy()


def flat(image: Image.Image, background: Color) -> Image.Image:
    """To RGB, transparency laid on `background`; palette, CMYK, grey and 16-bit converted."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    canvas = Image.new("RGBA", layer.size, (*background, 255))
    return Image.alpha_composite(canvas, layer).convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """Grey with more than 8 bits: integers above 255 mean 16 bits, floats up to 1 mean a range from 0 to 1."""
    values = np.asarray(image, dtype=np.float64)
    top = float(values.max(initial=0))
    scale = (255 if top <= 1 else 1) if image.mode == "F" else (1 / 257 if top > 255 else 1)
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8)).convert("RGB")

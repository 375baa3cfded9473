"""One picture file to an upright RGB picture, or the reason why it cannot be used."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from components.errors import DataError

Reason = Literal["not_an_image", "corrupt", "too_small", "too_large", "duplicate", "no_caption"]
Color = tuple[int, int, int]

Image.init()
FORMATS = tuple(name for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF") if name in Image.OPEN)
"""What is opened at all; Pillow's rarer decoders (EPS runs a program) stay out of reach of a downloaded folder."""
_SUFFIXES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".mpo", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}


@dataclass(frozen=True)
class Dropped:
    """A file that is not used; `detail` says what was found."""

    file: str
    reason: Reason
    detail: str


@contextlib.contextmanager
def own_limits() -> Iterator[None]:
    """Pillow's fixed pixel limit gives way to `max_pixels`, and its warnings about odd files to our reasons."""
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = usual


def read_picture(path: Path, name: str, *, min_side: int, max_pixels: int, background: Color) -> Image.Image | Dropped:
    """Decode a file fully; call it inside `own_limits`.

    The size is judged by the header, before anything is decoded. EXIF orientation is applied, transparency laid on
    `background`, palette, CMYK, grey and 16-bit converted; of an animation the first frame counts.

    Raises:
        DataError: the file may not be read (permissions, a failing disk): nothing is wrong with the picture.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                return Dropped(name, "too_large", f"{width}x{height} pixels; at most {max_pixels} in all are decoded")
            if min(width, height) < min_side:
                return Dropped(name, "too_small", f"{width}x{height} pixels; the shorter side needs {min_side}")
            return _flat(_upright(image), background)
    except UnidentifiedImageError:
        known = path.suffix.lower() in _SUFFIXES
        detail = "its first bytes are of no picture format" if known else "no picture format that is known"
        return Dropped(name, "corrupt" if known else "not_an_image", detail)
    except (PermissionError, MemoryError) as error:
        reason = "not enough memory" if isinstance(error, MemoryError) else (error.strerror or "permission denied")
        raise DataError(
            f"{str(path)!r} cannot be read: {reason}.", hint="Allow reading it, or take it away."
        ) from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        return Dropped(name, "corrupt", f"{type(error).__name__}: {error}".splitlines()[0][:200])


def read_alpha(path: Path) -> Image.Image:
    """The opacity of a sound picture as grey, upright; white where it has none."""
    with Image.open(path, formats=FORMATS) as image:
        upright = _upright(image)
    return (
        upright.convert("RGBA").getchannel("A") if upright.has_transparency_data else Image.new("L", upright.size, 255)
    )


def read_mask(folder: Path, name: str) -> Image.Image:
    """The mask of the picture `name` (a path below its own folder) as grey: `name` itself, or as PNG.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    for path in (folder / name, (folder / name).with_suffix(".png")):
        if path.is_file():
            try:
                with Image.open(path, formats=FORMATS) as image:
                    return _upright(image).convert("L")
            except (OSError, ValueError) as error:
                raise DataError(f"mask {str(path)!r} cannot be read: {error}.") from error
    hint = "Every picture needs one: white where the loss counts, black where it does not."
    raise DataError(f"picture {name!r} has no mask in {str(folder)!r}.", hint=hint)


def _upright(image: Image.Image) -> Image.Image:
    image.seek(0)
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF; the pixels have been decoded
        return image.copy()


def _flat(image: Image.Image, background: Color) -> Image.Image:
    """To RGB, transparency laid on `background`."""
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

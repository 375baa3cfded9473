"""One picture file to an upright RGB picture, or the reason why it cannot be used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from components.errors import DataError
from components.image.decoding import FORMATS, Color, flat, own_limits, upright

__all__ = ["Dropped", "Reason", "own_limits", "read_alpha", "read_mask", "read_picture"]

Reason = Literal["not_an_image", "corrupt", "too_small", "too_large", "duplicate", "no_caption"]
_SUFFIXES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".mpo", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}


@dataclass(frozen=True)
class Dropped:
    """A file that is not used; `detail` says what was found."""

    file: str
    reason: Reason
    detail: str


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
            return flat(upright(image), background)
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
        turned = upright(image)
    return turned.convert("RGBA").getchannel("A") if turned.has_transparency_data else Image.new("L", turned.size, 255)


def read_mask(folder: Path, name: str) -> Image.Image:
    """The mask of the picture `name` (a path below its own folder) as grey: `name` itself, or as PNG.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    for path in (folder / name, (folder / name).with_suffix(".png")):
        if path.is_file():
            try:
                with Image.open(path, formats=FORMATS) as image:
                    return upright(image).convert("L")
            except (OSError, ValueError) as error:
                raise DataError(f"mask {str(path)!r} cannot be read: {error}.") from error
    hint = "Every picture needs one: white where the loss counts, black where it does not."
    raise DataError(f"picture {name!r} has no mask in {str(folder)!r}.", hint=hint)

"""Pictures in requests: base64 over HTTP, read from a path on the command line, decoded here and nowhere else."""

import base64
import binascii
import hashlib
import io
import re
import warnings
from pathlib import Path
from typing import Any, get_args

from PIL import Image, ImageChops, UnidentifiedImageError
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from components.errors import RequestError
from components.image.decoding import FORMATS, flat, upright

MAX_BYTES = 12 * 2**20
MAX_PIXELS = 4096 * 4096
_LONGEST = 4 * MAX_BYTES // 3 + 128
_DATA_URL = re.compile(r"data:image/[\w.+-]{1,32};base64,")
_WHITE = (255, 255, 255)
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


class Picture(str):
    """The type of a request's field that holds a picture: base64 of a file's bytes, a data URL too.

    `model_dump` keeps the type, so that metadata finds every picture of any request and writes its digest instead.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(min_length=1, max_length=_LONGEST)
        return core_schema.no_info_after_validator_function(cls, text)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "contentEncoding": "base64", "maxLength": _LONGEST}

    @property
    def digest(self) -> str:
        """sha256 of the text."""
        return f"sha256:{hashlib.sha256(self.encode()).hexdigest()}"


def holds_picture(field: FieldInfo) -> bool:
    """Whether a request's field is a picture, or may be one."""
    return field.annotation is Picture or Picture in get_args(field.annotation)


def picture_of(data: bytes) -> Picture:
    """A file's bytes as a request carries them."""
    return Picture(base64.b64encode(data).decode("ascii"))


def read_picture(path: Path) -> Picture:
    """A file as a request carries it; looked into only when it is drawn with. Raises RequestError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RequestError(f"picture {str(path)!r} is larger than {MAX_BYTES} bytes.", hint="Save it smaller.")
        return picture_of(path.read_bytes())
    except OSError as error:
        raise RequestError(f"picture {str(path)!r} cannot be read: {error.strerror or error}.") from error


def decoded(picture: str, field: str) -> Image.Image:
    """A request's picture as upright 8-bit RGB; transparency is laid on white, grey and palette are converted.

    Args:
        field: of the request, for messages.

    Raises:
        RequestError: no base64, no picture, damaged, truncated, animated, CMYK, 16-bit, or too large to be decoded.
    """
    return flat(_opened(picture, field), _WHITE)


def decoded_mask(picture: str, field: str) -> Image.Image:
    """A request's mask as 8-bit grey. One with transparency and a single colour is its opacity.

    Raises RequestError as `decoded` does.
    """
    image = _opened(picture, field)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        low, high = layer.convert("L").getextrema()
        if low == high:
            return layer.getchannel("A")
    return flat(image, (0, 0, 0)).convert("L")


def inverted_opacity(picture: str, field: str) -> Picture | None:
    """A mask that is white where a picture is transparent; None for one without a transparent pixel.

    Raises RequestError as `decoded` does.
    """
    image = _opened(picture, field)
    if not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    if alpha.getextrema()[0] == 255:
        return None
    buffer = io.BytesIO()
    ImageChops.invert(alpha).save(buffer, "PNG", compress_level=1)
    return picture_of(buffer.getvalue())


def fitted_mask(mask: str, image: str, *, inverted: bool = False) -> Picture:
    """A mask in the size of its picture, black and white exchanged if `inverted`.

    Raises RequestError as `decoded` does.
    """
    grey, size = decoded_mask(mask, "mask"), decoded(image, "image").size
    fitted = grey if grey.size == size else grey.resize(size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    (ImageChops.invert(fitted) if inverted else fitted).save(buffer, "PNG", compress_level=1)
    return picture_of(buffer.getvalue())


def _opened(picture: str, field: str) -> Image.Image:
    data = content_of(picture, field)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check(image, field)
                return upright(image)
    except RequestError:
        raise
    except UnidentifiedImageError as error:
        raise RequestError(f"{field} is no picture.", hint=f"Expected one of: {', '.join(FORMATS)}.") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise RequestError(f"{field} has too many pixels: expected at most {MAX_PIXELS}.") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise RequestError(f"{field} is damaged or truncated: {reason}.", hint="Save it again as PNG.") from error


def content_of(picture: str, field: str) -> bytes:
    """The file's bytes. Raises RequestError: no base64, or too many."""
    match = _DATA_URL.match(picture)
    try:
        data = base64.b64decode(picture[match.end() if match else 0 :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"{field} is no base64: {error}.", hint="Send the bytes of a picture file.") from error
    if len(data) > MAX_BYTES:
        raise RequestError(f"{field} has {len(data)} bytes: expected at most {MAX_BYTES}.")
    return data


def _check(image: Image.Image, field: str) -> None:
    """By the header, before any pixel is decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RequestError(f"{field} has {width}x{height} pixels: expected at most {MAX_PIXELS} in all.")
    if getattr(image, "n_frames", 1) > 1:
        raise RequestError(f"{field} is animated ({image.format}).", hint="Send one frame of it.")
    if image.mode in _DEEP or _bits(image) > 8:
        raise RequestError(f"{field} has more than 8 bits a channel ({image.mode}).", hint="Save it with 8 bits.")
    if image.mode in ("CMYK", "LAB", "HSV"):
        raise RequestError(f"{field} is {image.mode}.", hint="Save it as RGB.")


def _bits(image: Image.Image) -> int:
    """Bits a channel of the file where Pillow says so: it opens 16-bit colour PNG and TIFF files as 8-bit RGB."""
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        return max((int(bits) for bits in tags.get(258, (8,))), default=8)
    tiles = getattr(image, "tile", None)
    if image.format == "PNG" and tiles:
        raw = tiles[0][3]
        return 16 if ";16" in (raw if isinstance(raw, str) else str(raw[0])) else 8
    return 8

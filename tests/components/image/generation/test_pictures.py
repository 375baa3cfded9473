"""Pictures in requests: everything that can be wrong with one, and what is put right."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from components.errors import RequestError
from components.image.generation import pictures
from components.image.generation.pictures import Picture, decoded, decoded_mask, picture_of, read_picture
from tests.components.image.generation.pictures import base64_of, noisy

SMALL = Image.new("RGB", (8, 6), (200, 30, 40))


def bomb(side: int) -> Picture:
    """A PNG of a few bytes that says that it is huge."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return picture_of(b"\x89PNG\r\n\x1a\n" + body)


def deep_png() -> Picture:
    """Three channels of 16 bits, which Pillow opens as if they had 8."""
    rows = b"".join(b"\0" + struct.pack(">6H", *([40000] * 6)) for _ in range(2))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return picture_of(b"\x89PNG\r\n\x1a\n" + body)


def animated(kind: str) -> Picture:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    return base64_of(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("!", "no base64"),
        ("ÄÄÄÄ", "no base64"),
        (picture_of(b"hello"), "is no picture"),
        (picture_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "is no picture"),
        (picture_of(base64.b64decode(base64_of(noisy()))[:-900]), "damaged or truncated"),
        (bomb(5000), "5000x5000 pixels"),
        (bomb(50_000), "too many pixels|50000x50000 pixels"),
        (base64_of(SMALL.convert("CMYK"), "JPEG"), "is CMYK"),
        (base64_of(Image.fromarray(np.full((4, 4), 40_000, np.uint16))), "more than 8 bits"),
        (deep_png(), "more than 8 bits"),
        (base64_of(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "more than 8 bits"),
        (animated("GIF"), "is animated"),
        (animated("PNG"), "is animated"),
        (animated("WEBP"), "is animated"),
    ],
)
def test_each_mistake_is_one_clear_error(text, said):
    with pytest.raises(RequestError, match=f"image .*({said})|image ({said})") as refused:
        decoded(text, "image")
    assert len(str(refused.value)) < 400


def test_what_can_be_put_right_is():
    assert decoded(base64_of(SMALL), "image").getpixel((0, 0)) == (200, 30, 40)
    assert decoded(f"data:image/png;base64,{base64_of(SMALL)}", "image").size == (8, 6)
    assert decoded(base64_of(SMALL.convert("L")), "image").mode == "RGB"
    assert decoded(base64_of(SMALL.quantize(4)), "image").getpixel((0, 0)) == (200, 30, 40)
    assert decoded(base64_of(SMALL.convert("1")), "image").mode == "RGB"
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert decoded(base64_of(clear), "image").getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decoded(base64_of(SMALL, "JPEG", exif=exif), "image").size == (6, 8)


def test_a_mask_may_be_grey_colour_or_opacity():
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
    assert np.array_equal(np.asarray(decoded_mask(base64_of(grey), "mask")), np.asarray(grey))
    layer = Image.new("RGBA", (8, 8), (9, 9, 9, 0))
    layer.putalpha(grey)
    assert np.array_equal(np.asarray(decoded_mask(base64_of(layer), "mask")), np.asarray(grey))
    assert decoded_mask(base64_of(Image.new("1", (8, 8), 1)), "mask").getextrema() == (255, 255)


def test_too_many_bytes(monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    large = base64_of(noisy())
    with pytest.raises(RequestError, match="expected at most 100"):
        decoded(large, "image")
    (tmp_path / "large.png").write_bytes(base64.b64decode(large))
    with pytest.raises(RequestError, match=r"large.png.* larger than 100 bytes"):
        read_picture(tmp_path / "large.png")


def test_a_path_becomes_a_picture_or_says_why_not(tmp_path):
    SMALL.save(tmp_path / "キャラ.png")
    assert decoded(read_picture(tmp_path / "キャラ.png"), "image").size == (8, 6)
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(RequestError, match="cannot be read"):
            read_picture(path)


def test_a_picture_keeps_its_type_through_a_request():
    from components.image.generation.modes import parse

    asked = parse({"mode": "image_to_image", "prompt": "a", "image": str(base64_of(SMALL))})
    assert isinstance(asked.image, Picture) and isinstance(asked.model_dump()["image"], Picture)
    assert asked.image.digest == base64_of(SMALL).digest
    buffer = io.BytesIO()
    SMALL.save(buffer, "PNG")
    assert base64.b64decode(asked.image) == buffer.getvalue()

"""One file to an upright RGB picture, or a reason."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.errors import DataError
from components.image.dataset.picture import Dropped, own_limits, read_picture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def read(path: Path, **changed: Any) -> Image.Image | Dropped:
    with own_limits():
        return read_picture(
            path, path.name, **{"min_side": 8, "max_pixels": 10**6, "background": (0, 0, 255), **changed}
        )


def sound(path: Path, **changed: Any) -> Image.Image:
    picture = read(path, **changed)
    assert isinstance(picture, Image.Image), picture
    assert picture.mode == "RGB"
    return picture


def dropped(path: Path, **changed: Any) -> Dropped:
    found = read(path, **changed)
    assert isinstance(found, Dropped)
    return found


def corners() -> Image.Image:
    """20x10, red at the top left, green at the top right, blue below."""
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:5, :10], pixels[:5, 10:], pixels[5:] = RED, GREEN, BLUE
    return Image.fromarray(pixels)


@pytest.mark.parametrize("suffix", ["png", "webp", "gif", "bmp", "tiff", "jpg"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"写真 1.{suffix}"
    corners().save(path, quality=95)
    assert np.abs(np.asarray(sound(path)).astype(int)[2, 2] - RED).max() < 40


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_exif_orientation_pixel_for_pixel(tmp_path: Path, orientation: int, stored: Image.Transpose | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = corners() if stored is None else corners().transpose(stored)
    turned.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(sound(tmp_path / "a.png")), np.asarray(corners()))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_transparency_is_laid_on_the_background(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGBA", (10, 10), (255, 255, 255, 0))
    picture.paste((255, 255, 255, 255), (5, 0, 10, 10))
    if mode == "P":
        picture.convert("RGB").quantize(4).save(tmp_path / "p.png", transparency=bytes([0, 0, 0, 0]))
        assert sound(tmp_path / "p.png").getpixel((8, 5)) == BLUE
        return
    suffix = "tiff" if mode == "PA" else "png"
    picture.convert("LA" if mode in ("LA", "PA") else mode).save(tmp_path / f"a.{suffix}")
    flat = sound(tmp_path / f"a.{suffix}")
    assert flat.getpixel((2, 5)) == BLUE
    assert flat.getpixel((8, 5)) == WHITE


def test_grey_palette_cmyk_and_deep_pictures(tmp_path: Path) -> None:
    corners().convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(np.asarray(sound(tmp_path / "cmyk.jpg")).astype(int)[2, 2] - RED).max() < 40
    corners().quantize(8).save(tmp_path / "palette.png")
    assert sound(tmp_path / "palette.png").getpixel((2, 2)) == RED
    Image.new("1", (10, 10), 1).save(tmp_path / "bit.png")
    assert sound(tmp_path / "bit.png").getpixel((0, 0)) == WHITE
    deep = np.full((10, 10), 32896, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert sound(tmp_path / "deep.png").getpixel((0, 0)) == (128, 128, 128)
    Image.fromarray(np.full((10, 10), 0.5, np.float32)).save(tmp_path / "float.tiff")
    assert sound(tmp_path / "float.tiff").getpixel((0, 0)) == (128, 128, 128)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (10, 10), color) for color in (RED, GREEN)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert sound(tmp_path / "a.gif").getpixel((5, 5)) == RED


def test_truncated_and_broken_files(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for suffix in ("jpg", "png", "webp", "gif"):
        noise.save(tmp_path / f"whole.{suffix}")
        content = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"half.{suffix}").write_bytes(content[: len(content) // 2])
        assert dropped(tmp_path / f"half.{suffix}").reason == "corrupt"
    (tmp_path / "empty.png").write_bytes(b"")
    assert dropped(tmp_path / "empty.png").reason == "corrupt"


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(100))
    (tmp_path / "drawing.svg").write_text("<svg/>", encoding="utf-8")
    (tmp_path / "evil.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n")
    for path in tmp_path.iterdir():
        assert dropped(path).reason == "not_an_image"


def test_size_is_judged_by_the_header(tmp_path: Path) -> None:
    """60,000 x 60,000 pixels would be 10 GB; the file has a hundred bytes."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    found = dropped(tmp_path / "bomb.png")
    assert (found.reason, "60000x60000" in found.detail) == ("too_large", True)


def test_pillows_own_limit_gives_way_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corners().save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    sound(tmp_path / "large.png", max_pixels=200)
    assert Image.MAX_IMAGE_PIXELS == 20


def test_too_small(tmp_path: Path) -> None:
    Image.new("RGB", (100, 7)).save(tmp_path / "a.png")
    assert dropped(tmp_path / "a.png").reason == "too_small"


def test_a_link_that_leads_nowhere_or_in_circles(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    assert {dropped(tmp_path / name).reason for name in ("gone.png", "circle.png")} == {"corrupt"}


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    Image.new("RGB", (10, 10)).save(path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(DataError, match="cannot be read"):
        read(path)

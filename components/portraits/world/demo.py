"""The demo's dataset: pictures of one unseen style as users really have them, untidy on purpose and always the same."""

import argparse
import io
import json
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image, ImageEnhance
from rich.progress import track

from components.portraits.vocabulary import DEMO_STYLE
from components.portraits.world import drawing
from components.portraits.world.captions import caption
from components.portraits.world.renders import Portrait, clashes, is_held_out, render, sample_portraits, svg

TRIGGER = "kyarachar"
COUNT = 184
NEAR_DUPLICATES = 10

_NAMES = ("lorelei_{:03}", "IMG_{:04}", "manga girl ({})", "Screenshot {:03}", "キャラ{:02}")
_FORMATS = ("png", "png", "png", "jpg", "jpg", "jpeg", "webp")
_SIDES = (160, 192, 224, 256, 256, 320, 384, 448, 512, 512, 640)
_TRIGGER_SHARE = 0.85
_METADATA_SHARE = 0.15
_ORIENTATION_TAG = 0x0112
_TURNED_RIGHT = 6
"""EXIF: what is stored must be turned 90 degrees clockwise to stand upright."""

_JUNK: Mapping[str, bytes] = {
    "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
    ".DS_Store": b"\x00\x00\x00\x01Bud1" + bytes(248),
    "notes.txt": b"todo: ask for more pictures with glasses\nall faces drawn in the same style, keep it that way\n",
}


@dataclass(frozen=True)
class _Picture:
    """A picture on its way to the folder: file name, its content as written, and its caption if it has one."""

    name: str
    content: bytes
    caption: str | None


def write(folder: Path, seed: int = 0) -> None:
    """Empty `folder` and write the dataset: pictures, captions, junk, `provenance.json`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = random.Random(f"demo/{seed}")
    pictures = [*_tidy(rng, seed)]
    pictures += [*_near_duplicates(rng, pictures), *_broken(rng, seed)]
    rows = []
    for picture in pictures:
        (folder / picture.name).write_bytes(picture.content)
        if picture.caption is not None and rng.random() < _METADATA_SHARE:
            rows.append({"file_name": picture.name, "text": picture.caption})
        elif picture.caption is not None:
            (folder / picture.name).with_suffix(".txt").write_bytes(_typed(picture.caption, rng))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(lines, "utf-8")
    for name, content in _JUNK.items():
        (folder / name).write_bytes(content)
    (folder / "provenance.json").write_text(json.dumps(provenance(), indent=2, ensure_ascii=False) + "\n", "utf-8")


def provenance() -> dict[str, Any]:
    """Where the pictures come from and what may be done with them, as the style's package says."""
    meta = drawing.definition(DEMO_STYLE)["meta"]
    return {
        "license": meta["license"]["name"],
        "license_url": meta["license"]["url"],
        "artist": meta["creator"]["name"],
        "artist_url": meta["creator"]["url"],
        "title": meta["source"]["name"],
        "source": meta["source"]["url"],
        "attribution": meta["license"]["text"],
        "changes": drawing.CHANGES[DEMO_STYLE],
        "generated_with": {name: version(name) for name in ("dicebear-core", "dicebear-styles", "resvg_py")},
    }


def _tidy(rng: random.Random, seed: int) -> Iterator[_Picture]:
    """The sound pictures, in mixed formats and sizes; one has no caption."""
    portraits = sample_portraits(COUNT, seed + 1_000, (DEMO_STYLE,))
    for i, portrait in enumerate(track(portraits, "draw the demo's pictures")):
        suffix = rng.choice(_FORMATS)
        stem = rng.choice(_NAMES).format(i + 1)
        text = None if i == COUNT // 2 else _caption(portrait, rng)
        yield _Picture(f"{stem}.{suffix}", _encode(_cropped(portrait, rng), suffix, rng.randint(82, 95)), text)


def _near_duplicates(rng: random.Random, originals: list[_Picture]) -> Iterator[_Picture]:
    """The same pictures again: other size, lower quality, a little brighter or darker."""
    for original in rng.sample(originals, NEAR_DUPLICATES):
        picture = Image.open(io.BytesIO(original.content)).convert("RGB")
        factor = rng.uniform(0.6, 0.9)
        smaller = picture.resize((max(160, int(picture.width * factor)), max(160, int(picture.height * factor))))
        changed = ImageEnhance.Brightness(smaller).enhance(rng.choice((0.97, 1.0, 1.03)))
        yield _Picture(f"{Path(original.name).stem} copy.jpg", _encode(changed, "jpg", 72), original.caption)


def _broken(rng: random.Random, seed: int) -> Iterator[_Picture]:
    """One of each fault and oddity that a loader must know."""
    truncated, turned, tiny, *others = sample_portraits(32, seed + 2_000, (DEMO_STYLE,))
    clear = next(portrait for portrait in others if _fits_white(portrait))
    whole = _encode(render(truncated, 384), "jpg", 90)
    yield _Picture("IMG_9001.jpg", whole[: len(whole) * 2 // 5], _caption(truncated, rng))
    yield _Picture("sticker.png", _transparent(clear, 400), _caption(_before_white(clear), rng))
    yield _Picture("IMG_9002.jpg", _turned(render(turned, 480)), _caption(turned, rng))
    yield _Picture("icon.png", _encode(render(tiny, 24), "png"), _caption(tiny, rng))


def _caption(portrait: Portrait, rng: random.Random) -> str:
    text = caption(portrait, rng, style_word=None)
    return f"{TRIGGER}, {text}" if rng.random() < _TRIGGER_SHARE else text


def _typed(text: str, rng: random.Random) -> bytes:
    """A caption as editors leave it: now and then a byte order mark, Windows line ends, a trailing comma."""
    habit = rng.choices(("plain", "newline", "windows", "bom", "comma"), (70, 15, 8, 3, 4))[0]
    ends = {"plain": "", "newline": "\n", "windows": "\r\n", "bom": "\r\n", "comma": ", "}
    return (text + ends[habit]).encode("utf-8-sig" if habit == "bom" else "utf-8")


def _cropped(portrait: Portrait, rng: random.Random) -> Image.Image:
    """The picture at a size that users have; one in eight has lost a strip at the top and is not square."""
    side = rng.choice(_SIDES)
    picture = render(portrait, side)
    if rng.random() < 1 / 8 and portrait.attributes["scale"] != "close":
        picture = picture.crop((0, round(side * rng.uniform(0.02, 0.06)), side, side))
    return picture


def _encode(picture: Image.Image, suffix: str, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    if suffix == "png":
        picture.save(buffer, "PNG", optimize=True)
    elif suffix == "webp":
        picture.save(buffer, "WEBP", quality=quality)
    else:
        picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _transparent(portrait: Portrait, side: int) -> bytes:
    return bytes(resvg_py.svg_to_bytes(svg_string=svg(portrait, transparent=True), width=side, height=side))


def _before_white(portrait: Portrait) -> Portrait:
    """What is seen once a transparent picture is laid on white."""
    return Portrait(portrait.style, {**portrait.attributes, "background": "white"}, portrait.seed)


def _fits_white(portrait: Portrait) -> bool:
    seen = _before_white(portrait)
    return not is_held_out(seen) and not clashes(seen.attributes)


def _turned(picture: Image.Image) -> bytes:
    """Stored lying on its side, with the EXIF tag that says so."""
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = _TURNED_RIGHT
    buffer = io.BytesIO()
    picture.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


def main() -> None:
    """`python -m components.portraits.world.demo --data data`: write `demo/` and `ATTRIBUTION.md`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    data: Path = parser.parse_args().data
    write(data / "demo")
    (data / "ATTRIBUTION.md").write_text(drawing.attribution(), "utf-8")


if __name__ == "__main__":
    main()

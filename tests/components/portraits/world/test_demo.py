import io
import json
import warnings
from pathlib import Path

import imagehash
import pytest
from PIL import Image, ImageOps

from components.portraits.world import demo

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
ROOT = Path(__file__).parents[4] / "data" / "demo"


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def described(folder: Path) -> set[str]:
    return {json.loads(line)["file_name"] for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's folder with 24 sound pictures."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "COUNT", 24)
        demo.write(folder / "one")
        demo.write(folder / "two")
    return folder


def test_a_seed_gives_the_same_bytes(small: Path):
    first, second = ({path.name: path.read_bytes() for path in (small / name).iterdir()} for name in ("one", "two"))
    assert first == second


def test_about_two_hundred_pictures_in_mixed_formats_below_eight_megabytes():
    found = pictures(ROOT)
    assert 190 <= len(found) <= 210
    assert {path.suffix for path in found} == SUFFIXES
    assert sum(path.stat().st_size for path in ROOT.iterdir()) < 8_000_000
    assert {"Thumbs.db", ".DS_Store", "notes.txt"} <= {path.name for path in ROOT.iterdir()}


def test_most_have_a_sidecar_some_a_line_in_the_metadata_one_nothing():
    found = pictures(ROOT)
    listed = described(ROOT)
    sidecars = {path.name for path in found if path.with_suffix(".txt").exists()}
    assert listed.isdisjoint(sidecars)
    assert 15 <= len(listed) <= 60
    assert len(sidecars) > 130
    assert len([path for path in found if path.name not in sidecars | listed]) == 1


def test_some_captions_lack_the_trigger():
    texts = [path.read_text("utf-8-sig") for path in ROOT.glob("*.txt") if path.name != "notes.txt"]
    share = sum(text.startswith(demo.TRIGGER) for text in texts) / len(texts)
    assert 0.7 < share < 0.95


def test_exactly_one_picture_is_truncated():
    broken = []
    for path in pictures(ROOT):
        try:
            with Image.open(path) as picture:
                picture.load()
        except OSError:
            broken.append(path.name)
    assert broken == ["IMG_9001.jpg"]


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))


def test_the_oddities(small: Path):
    folder = small / "one"
    assert opened(folder / "sticker.png").mode == "RGBA"
    assert opened(folder / "sticker.png").getchannel("A").getextrema() == (0, 255)
    assert opened(folder / "icon.png").size == (24, 24)
    assert opened(folder / "IMG_9002.jpg").getexif()[0x0112] == 6
    sides = {side for path in pictures(folder) if path.name != "icon.png" for side in opened(path).size}
    assert min(sides) >= 150
    assert max(sides) <= 640


def test_turning_by_the_exif_tag_stands_the_picture_upright():
    upright = Image.new("RGB", (64, 64), "white")
    upright.paste("red", (0, 0, 64, 20))
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(demo._turned(upright))))
    red, _, blue = turned.getpixel((32, 5))
    assert red > 200
    assert blue < 60


def test_near_duplicates_look_like_their_originals(small: Path):
    folder = small / "one"
    copies = sorted(folder.glob("* copy.jpg"))
    assert len(copies) == demo.NEAR_DUPLICATES
    for copy in copies:
        stem = copy.stem.removesuffix(" copy")
        original = next(path for path in pictures(folder) if path.stem == stem)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            distance = imagehash.phash(opened(copy)) - imagehash.phash(opened(original))
        assert distance <= 4
        assert copy.read_bytes() != original.read_bytes()


def test_the_provenance_names_licence_and_artist():
    said = json.loads((ROOT / "provenance.json").read_text("utf-8"))
    assert said == demo.provenance()
    assert said["license"] == "CC0 1.0"
    assert said["artist"] == "Lisa Wischofsky"
    assert "dicebear-core" in said["generated_with"]

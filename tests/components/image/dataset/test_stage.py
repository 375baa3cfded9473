"""The stage on an untidy folder, with a real tiny model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from components.errors import DataError
from components.image.dataset.loader import CachedDataset
from components.image.dataset.stage import prepare
from components.image.families.bundle import load_bundle
from components.image.recipe import DatasetConfig
from components.runlog import SilentLog
from components.settings import settings
from tests.tiny import tiny_model, tiny_sd15, tiny_sdxl


class Notes(SilentLog):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []
        self.tables: dict[str, Sequence[Mapping[str, Any]]] = {}
        self.bars: dict[str, tuple[int, int]] = {}

    def message(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.tables[name] = rows

    def progress(self, done: int, total: int, *, unit: str = "step", **fields: float) -> None:
        self.bars[unit] = (done, total)


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("KYARA_HOME", str(tmp_path_factory.mktemp("home")))
    settings.cache_clear()
    yield
    settings.cache_clear()


def drawing(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Random shapes, the same at every size."""
    generator = np.random.default_rng(seed)
    picture = Image.new("RGB", (256, 256), tuple(generator.integers(0, 255, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y = generator.integers(0, 200, 2).tolist()
        w, h = generator.integers(20, 120, 2).tolist()
        pen.ellipse((x, y, x + w, y + h), fill=tuple(generator.integers(0, 255, 3).tolist()))
    return picture.resize(size, Image.Resampling.LANCZOS)


def fill(folder: Path, count: int = 8) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        drawing(seed).save(folder / f"{seed:02}.png")
        (folder / f"{seed:02}.txt").write_text(f"tag{seed}, red hair, smile, solo", encoding="utf-8")
    return folder


def run(folder: Path, out: Path, base: Path | None = None, **changed: Any) -> tuple[dict[str, Any], Notes]:
    base = base or tiny_sd15()
    out.mkdir(parents=True, exist_ok=True)
    notes = Notes()
    config = DatasetConfig(model=tiny_model(base), **{"source": "data", "trigger": "kyara", "min_side": 16, **changed})
    masks = {"masks": Path(config.masks)} if config.masks not in (None, "alpha") else {}
    prepare(config, {"base": base, "data": folder, **masks}, out, notes)
    return json.loads((out / "index.json").read_text(encoding="utf-8")), notes


def test_untidy_folder(tmp_path: Path) -> None:
    """Every reason once, each file accounted for."""
    folder = fill(tmp_path / "data")
    (folder / "sub" / "深い").mkdir(parents=True)
    (folder / ".git").mkdir()
    drawing(90).save(folder / ".git" / "hidden.png")
    drawing(20).save(folder / "sub" / "深い" / "女の子.webp", quality=90)
    drawing(0, (96, 96)).save(folder / "0 larger.jpg", quality=90)
    (folder / "0 larger.txt").write_text("larger", encoding="utf-8")
    drawing(21, (8, 8)).save(folder / "tiny.png")
    drawing(22, (300, 300)).save(folder / "huge.png")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    drawing(23).save(folder / "silent.png")
    (folder / "notes.txt").write_text("to do", encoding="utf-8")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "sub" / "metadata.jsonl").write_text(
        '{"file_name": "深い/女の子.webp", "text": "deep, down, below", "license": "CC-BY-4.0"}\n'
        '{"file_name": "gone.png", "text": "x"}\n',
        encoding="utf-8",
    )
    index, notes = run(folder, tmp_path / "out", require_captions=True, max_pixels=200 * 200, license="CC0-1.0")
    reasons = {row["file"]: row["reason"] for row in json.loads((tmp_path / "out" / "dropped.json").read_text("utf-8"))}
    assert reasons == {
        "00.png": "duplicate",
        "Thumbs.db": "not_an_image",
        "broken.jpg": "corrupt",
        "huge.png": "too_large",
        "silent.png": "no_caption",
        "tiny.png": "too_small",
    }
    files = {sample["file"]: sample for sample in index["samples"]}
    assert files.keys() == {*(f"{seed:02}.png" for seed in range(1, 8)), "0 larger.jpg", "sub/深い/女の子.webp"}
    assert "'0 larger.jpg'" in next(row["detail"] for row in notes.tables["dropped"] if row["reason"] == "duplicate")
    assert files["sub/深い/女の子.webp"]["license"] == "CC-BY-4.0"
    assert index["license"] == "CC-BY-4.0 AND CC0-1.0"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert (summary["files"], summary["kept"]) == (15, 9)
    assert summary["dropped"] == dict.fromkeys(sorted(set(reasons.values())), 1)
    assert any("gone.png" in text for text in notes.warned)
    assert any("loop" in text for text in notes.warned)
    assert notes.bars["picture"] == (15, 15)
    names = {path.stem for path in (tmp_path / "out" / "images").iterdir()}
    assert names == {sample["id"] for sample in index["samples"]}


def test_what_training_reads(tmp_path: Path) -> None:
    index, _ = run(fill(tmp_path / "data"), tmp_path / "out", tag_shuffles=3)
    latents = load_file(tmp_path / "out" / "latents.safetensors")
    bundle = load_bundle(tiny_model(tiny_sd15()))
    for sample in index["samples"]:
        assert sample["captions"][0].startswith("kyara, tag")
        assert len(sample["captions"]) == 3
        with Image.open(tmp_path / "out" / "images" / f"{sample['id']}.png") as picture:
            assert picture.size == (sample["width"], sample["height"]) == (32, 32)
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        assert torch.allclose(latents[sample["id"]], bundle.encode_images(pixels)[0], atol=1e-4)
    assert latents[index["samples"][0]["id"]].dtype == torch.float32


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_text_embeddings_of_both_families(tmp_path: Path, make: Any) -> None:
    import hashlib

    base = make()
    index, _ = run(fill(tmp_path / "data", 3), tmp_path / "out", base)
    text = load_file(tmp_path / "out" / "text.safetensors")
    bundle = load_bundle(tiny_model(base))
    for caption in ("", *index["samples"][0]["captions"]):
        key = hashlib.sha256(caption.encode()).hexdigest()[:16]
        expected = bundle.encode_prompts([caption])
        assert torch.allclose(text[f"{key}.hidden"], expected.hidden[0], atol=1e-5)
        assert (f"{key}.pooled" in text) == (base == tiny_sdxl())
        if expected.pooled is not None:
            assert torch.allclose(text[f"{key}.pooled"], expected.pooled[0], atol=1e-5)


def test_only_what_changed_is_encoded_again(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data")
    _, first = run(folder, tmp_path / "a", tag_shuffles=1)
    assert "latents: 8 pictures encoded, 0 from the cache" in first.said
    index, second = run(folder, tmp_path / "b", tag_shuffles=1)
    assert "latents: 0 pictures encoded, 8 from the cache" in second.said
    assert "text: 0 captions encoded, 9 from the cache" in second.said
    drawing(50).save(folder / "03.png")
    (folder / "04.txt").write_text("new words", encoding="utf-8")
    edited, third = run(folder, tmp_path / "c", tag_shuffles=1)
    assert "latents: 1 pictures encoded, 7 from the cache" in third.said
    assert "text: 1 captions encoded, 8 from the cache" in third.said
    before, after = ({sample["file"]: sample["id"] for sample in part["samples"]} for part in (index, edited))
    assert [name for name in before if before[name] != after[name]] == ["03.png"]


def test_another_encoder_is_another_cache(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data", 3)
    run(folder, tmp_path / "a")
    base = tiny_sd15(tmp_path / "base")
    weights = base / "vae" / "diffusion_pytorch_model.safetensors"
    changed = {name: weight + 0.01 for name, weight in load_file(weights).items()}
    save_file(changed, weights)
    _, notes = run(folder, tmp_path / "b", base)
    assert "latents: 3 pictures encoded, 0 from the cache" in notes.said
    assert any(text.startswith("text: 0 captions encoded") for text in notes.said)


def test_damaged_cache_files_are_made_again(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data", 4)
    run(folder, tmp_path / "a")
    entries = sorted(path for path in (settings().state / "cache").rglob("*") if path.is_file())
    for number, path in enumerate(entries):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes((b"", bytes(content), bytes(content[:40]))[number % 3])
    _, notes = run(folder, tmp_path / "b")
    assert "latents: 4 pictures encoded, 0 from the cache" in notes.said
    for name in ("latents", "text"):
        one, other = (load_file(tmp_path / part / f"{name}.safetensors") for part in "ab")
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_split_is_stable_when_pictures_come(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data", 24)
    before, _ = run(folder, tmp_path / "a", validation_share=0.3)
    for seed in range(24, 32):
        drawing(seed).save(folder / f"{seed}.png")
    after, _ = run(folder, tmp_path / "b", validation_share=0.3)
    split = {sample["file"]: sample["split"] for sample in after["samples"]}
    assert all(split[sample["file"]] == sample["split"] for sample in before["samples"])
    assert {"train", "val"} == set(split.values())


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(1, 0.5, {"train"}), (2, 0.01, {"train", "val"}), (3, 0, {"train"})]
)
def test_few_pictures_still_split(tmp_path: Path, count: int, share: float, expected: set[str]) -> None:
    index, _ = run(fill(tmp_path / "data", count), tmp_path / "out", validation_share=share)
    assert {sample["split"] for sample in index["samples"]} == expected


def test_buckets(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data", 2)
    drawing(30, (200, 100)).save(folder / "wide.png")
    index, _ = run(folder, tmp_path / "a")
    sizes = {sample["file"]: (sample["width"], sample["height"]) for sample in index["samples"]}
    assert sizes["wide.png"][0] > sizes["wide.png"][1]
    latents = load_file(tmp_path / "a" / "latents.safetensors")
    shapes = {sample["file"]: tuple(latents[sample["id"]].shape) for sample in index["samples"]}
    assert all(shapes[name] == (4, height // 4, width // 4) for name, (width, height) in sizes.items())
    index, _ = run(folder, tmp_path / "b", buckets=False)
    (wide,) = (sample for sample in index["samples"] if sample["file"] == "wide.png")
    assert (wide["original"], wide["crop"]) == ([200, 100], [16, 0]), (
        "resized to 64x32, 16 pixels cut off left and right"
    )
    assert {(sample["width"], sample["height"]) for sample in index["samples"]} == {(32, 32)}


def test_masks_of_the_alpha_channel_and_of_a_folder(tmp_path: Path) -> None:
    """The left half counts; a picture without transparency counts everywhere."""
    folder, masks = fill(tmp_path / "data", 3), tmp_path / "masks"
    masks.mkdir()
    left = Image.new("L", (64, 64))
    left.paste(255, (0, 0, 32, 64))
    cut = drawing(30)
    cut.putalpha(left)
    cut.save(folder / "cut.png")
    for path in folder.glob("*.png"):
        left.save(masks / path.name)
    for given, whole in (({"masks": "alpha"}, 1.0), ({"masks": str(masks)}, 0.5)):
        out = tmp_path / Path(given["masks"]).name
        run(folder, out, **given)
        data = CachedDataset.open(out, "train")
        found = {
            sample["file"]: data.masks[sample["id"]]
            for sample in json.loads((out / "index.json").read_text())["samples"]
        }
        assert found["cut.png"][0].tolist() == pytest.approx([1, 1, 1, 1, 0, 0, 0, 0], abs=0.05)
        assert float(found["00.png"].mean()) == pytest.approx(whole, abs=0.01)
        weights = data.weights(range(len(data)), 0.25)
        assert weights is not None
        assert weights.shape == (len(data), 1, 8, 8)
        assert float(weights.min()) == pytest.approx(0.25, abs=0.01)
        assert not (out / "masks").exists()
    (masks / "cut.png").unlink()
    with pytest.raises(DataError, match=r"'cut.png' has no mask"):
        run(folder, tmp_path / "missing", masks=str(masks))


def test_provenance(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data", 3)
    _, notes = run(folder, tmp_path / "a")
    assert any("licence" in text for text in notes.warned)
    said = {
        "license": "CC0-1.0",
        "artist": "A",
        "source": "s",
        "files": {"01.png": {"license": "CC-BY-4.0", "artist": "B"}},
    }
    (folder / "provenance.json").write_text(json.dumps(said), encoding="utf-8")
    index, notes = run(folder, tmp_path / "b")
    assert [sample["license"] for sample in index["samples"]] == ["CC0-1.0", "CC-BY-4.0", "CC0-1.0"]
    assert (index["license"], index["artist"]) == ("CC-BY-4.0 AND CC0-1.0", "A AND B")
    assert not notes.warned
    (folder / "provenance.json").write_text("[", encoding="utf-8")
    with pytest.raises(DataError, match="malformed"):
        run(folder, tmp_path / "c")


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "out" / "images").mkdir(parents=True)
    (tmp_path / "out" / "images" / "0123456789abcdef.png").write_bytes(b"left over")
    index, _ = run(fill(tmp_path / "data", 3), tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out" / "images").iterdir()} == {row["id"] for row in index["samples"]}


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        run(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        run(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no picture .* can be used \(1 corrupt\)"):
        run(tmp_path / "empty", tmp_path / "out")
    silent = tmp_path / "silent"
    silent.mkdir()
    drawing(1).save(silent / "a.png")
    with pytest.raises(DataError, match=r"none of the 1 usable pictures .* has a caption") as caught:
        run(silent, tmp_path / "out", require_captions=True)
    assert "require_captions" in caught.value.hint
    index, _ = run(silent, tmp_path / "out2")
    assert index["samples"][0]["captions"] == ["kyara"]

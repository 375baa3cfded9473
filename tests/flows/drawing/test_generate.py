"""`kyara generate`, `kyara grid` and `kyara preset` on a tiny promoted model."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.image.generation.metadata import read_png
from tests.components.image.generation.pictures import noisy
from tests.promoted import tiny_version


def drawn(path: str) -> tuple[np.ndarray, dict]:
    data = Path(path).read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image), read_png(data)


def test_options_imply_their_mode(kyara):
    for options, mode in (
        ((), "text_to_image"),
        (("--image", "given.png", "--strength", "0.3"), "image_to_image"),
        (("--image", "given.png", "--mask", "mask.png"), "inpaint"),
        (("--image", "given.png", "--box", "4,4,20,20", "--feather", "2"), "inpaint"),
        (("--upscale", "2"), "upscale"),
        (("--set", "mode=upscale", "--set", "image=given.png"), "upscale"),
    ):
        code, _, err = kyara("generate", "smile", "--seed", "3", "--out", "made.png", *options)
        assert code == 0, err
        assert drawn("made.png")[1]["mode"] == mode
    box, mask = (("--box", "4,4,20,20"), ("--mask", "mask.png"))
    for where, name in ((box, "box.png"), (mask, "masked.png")):
        kyara("generate", "smile", "--seed", "3", "--image", "given.png", "--out", name, *where)
    assert np.array_equal(drawn("box.png")[0], drawn("masked.png")[0])


@pytest.mark.parametrize("options", [(), ("--image", "given.png", "--strength", "0.4")])
def test_a_picture_is_the_base_of_the_next(kyara, options):
    kyara("generate", "smile", "--seed", "3", "--out", "first.png", *options)
    Path("given.png").unlink()
    assert kyara("generate", "--from", "first.png", "--out", "second.png")[0] == 0
    assert np.array_equal(drawn("first.png")[0], drawn("second.png")[0])
    assert kyara("generate", "--from", "first.png", "--seed", "4", "--out", "third.png")[0] == 0
    assert not np.array_equal(drawn("first.png")[0], drawn("third.png")[0])
    assert drawn("third.png")[1]["seed"] == 4


def test_a_batch_is_as_many_files_at_consecutive_seeds(kyara):
    code, out, _ = kyara("generate", "smile", "--seed", "5", "-n", "3", "--out", "many.png")
    assert code == 0 and sorted(path.name for path in Path.cwd().glob("many*")) == [
        "many-5.png",
        "many-6.png",
        "many-7.png",
    ]
    kyara("generate", "smile", "--seed", "6", "--out", "alone.png")
    assert np.array_equal(drawn("many-6.png")[0], drawn("alone.png")[0])
    assert drawn("many-6.png")[1]["seed"] == 6
    assert all(f"many-{seed}.png  (seed {seed}," in out for seed in (5, 6, 7))


def test_presets(kyara):
    assert kyara("preset", "save", "quick", "--set", "steps=1", "--set", "seed=9")[0] == 0
    assert kyara("generate", "smile", "--preset", "quick", "--out", "quick.png")[0] == 0
    facts = drawn("quick.png")[1]
    assert (facts["steps"], facts["seed"]) == (1, 9)
    kyara("generate", "smile", "--preset", "quick", "--seed", "2", "--out", "other.png")
    assert drawn("other.png")[1]["seed"] == 2, "an option wins over a preset"
    assert json.loads(kyara("preset", "list", "--json")[1]) == {"quick": {"steps": 1, "seed": 9}}
    assert kyara("preset", "save", "like", "--from", "quick.png")[0] == 0
    assert "quick" in kyara("preset", "list")[1] and '"steps": 1' in kyara("preset", "list")[1]
    for name in ("quick", "like"):
        assert kyara("preset", "delete", name)[0] == 0
    code, _, err = kyara("generate", "smile", "--preset", "quick")
    assert code == 1 and "preset 'quick' is unknown" in err
    assert kyara("preset", "list")[1].strip() == "none yet"


def test_any_two_settings_against_each_other(kyara):
    code, _, err = kyara("grid", "smile", "--x", "steps=1,2,4", "--y", "seed=1,2", "--out", "grid.png")
    assert code == 0, err
    with Image.open("grid.png") as image:
        sheet = image.convert("RGB")
    kyara("generate", "smile", "--steps", "2", "--seed", "2", "--out", "cell.png")
    cell = drawn("cell.png")[0]
    found = [
        (x, y)
        for y in range(sheet.height - 31)
        for x in range(sheet.width - 31)
        if sheet.getpixel((x, y)) == tuple(cell[0, 0])
        and np.array_equal(np.asarray(sheet.crop((x, y, x + 32, y + 32))), cell)
    ]
    assert len(found) == 1, "the cell stands in the sheet as it is drawn alone"
    assert kyara("grid", "smile", "--x", "strength=0.2,0.8", "--image", "given.png", "--out", "row.png")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("generate",), "prompt: missing"),
        (("generate", "a", "--image", "none.png"), "none.png' cannot be read"),
        (("generate", "a", "--mask", "mask.png"), "image: missing"),
        (("generate", "a", "--strength", "0.5"), "strength: no such field"),
        (("generate", "a", "--image", "given.png", "--strength", "1.5"), "strength: 1.5 is wrong"),
        (("generate", "a", "--image", "given.png", "--box", "1,2,3"), "box '1,2,3' is wrong"),
        (("generate", "a", "--set", "mode=sculpture"), "mode 'sculpture' is unknown"),
        (("generate", "--from", "given.png"), "does not say how it was made"),
        (("generate", "--from", "none.png"), "none.png' cannot be read"),
        (("grid", "a", "--x", "steps"), "axis 'steps' is wrong"),
        (("grid", "a", "--x", "stepz=1,2"), "stepz: no such field"),
        (("grid", "a", "--x", "steps=1,", "--y", "seed=1"), "axis 'steps=1,' is wrong"),
        (("preset", "save", "x"), "holds nothing"),
        (("preset", "save", "x", "--set", "steps=0"), "steps: 0"),
    ],
)
def test_mistakes_are_one_sentence(kyara, arguments, said):
    code, _, err = kyara(*arguments)
    assert code == 1 and said in err and "Traceback" not in err


def test_paths_become_pictures_wherever_a_field_holds_one(tmp_path):
    from pydantic import BaseModel

    from components.image.generation.pictures import Picture
    from flows.generate import _opened

    class Part(BaseModel):
        name: str
        image: Picture

    noisy().save(tmp_path / "given.png")
    path = str(tmp_path / "given.png")
    assert isinstance(_opened(path, Picture | None), Picture) and not isinstance(_opened(path, str | None), Picture)
    found = _opened([{"name": path, "image": path}], list[Part])
    assert isinstance(found[0]["image"], Picture) and found[0]["name"] == path
    assert isinstance(_opened({"image": path}, Part | None)["image"], Picture)
    assert all(isinstance(each, Picture) for each in _opened([path, path], tuple[Picture, ...] | None))


def test_another_model_is_said(kyara, promoted):
    kyara("generate", "smile", "--seed", "3", "--out", "first.png")
    other = tiny_version(promoted / "others", "2", seed=7)
    code, _, err = kyara("generate", "--from", "first.png", "--model", str(other), "--out", "second.png")
    assert code == 0 and "first.png was drawn by another model" in err
    assert "another model" not in kyara("generate", "--from", "first.png", "--out", "third.png")[2]

"""`kyara directions` and the mode that uses what it learns, on a tiny promoted model."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifact import point
from components.errors import DataError, RecipeError, RequestError
from components.image.generation.directions import Directions
from components.image.generation.modes import parse
from components.image.generator import ImageGenerator
from components.settings import settings
from flows import cli
from flows.directions import fit
from tests.components.image.generation.pictures import base64_of, gradient, seen
from tests.promoted import home as a_home
from tests.promoted import tiny_version
from tests.tiny import LATENTS

COLORS = {"red": (200, 20, 20), "blue": (20, 20, 200)}


@pytest.fixture(scope="module")
def promoted(tmp_path_factory):
    with a_home(tmp_path_factory.mktemp("sliders")):
        version = tiny_version(settings().models_dir, "1")
        point(version.parent, "1")
        yield version


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures whose captions tell their colour; one is damaged, one says nothing."""
    place = tmp_path_factory.mktemp("labelled")
    for at in range(12):
        name = ("red", "blue")[at % 2]
        Image.new("RGB", (48, 40), COLORS[name]).save(place / f"{at}.png")
        (place / f"{at}.txt").write_text(f"a girl with {name} hair", encoding="utf-8")
    Image.new("RGB", (8, 8)).save(place / "silent.png")
    (place / "damaged.png").write_bytes(b"no picture")
    return place


def test_sliders_from_a_folder_move_a_picture(promoted: Path, folder: Path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["directions", str(folder)])
    out = capsys.readouterr().out
    assert not ended.value.code and "tiny.safetensors" in out
    found = Directions.load(settings().sliders_dir / "tiny.safetensors", LATENTS)
    assert list(found.sliders) == ["hair_color=blue", "hair_color=red"] and found.count == 12
    generator = ImageGenerator.load(promoted, engine="eager")

    def moved(amount: float, **fields) -> np.ndarray:
        asked = {
            "mode": "sliders",
            "prompt": "smile",
            "seed": 1,
            "image": base64_of(gradient()),
            "strength": 0,
            **fields,
        }
        return seen(generator.answer(parse({**asked, "sliders": {"hair_color=red": amount}})))

    assert np.abs(moved(1) - moved(0)).mean() > np.abs(moved(0.5) - moved(0)).mean() > 0
    assert moved(1, strength=0.5).shape == (32, 32, 3)
    assert moved(1, image=None, strength=0.3).shape == (32, 32, 3)
    with pytest.raises(RequestError, match=r"'wings=two'.*hair_color=red"):
        generator.answer(parse({"mode": "sliders", "prompt": "smile", "sliders": {"wings=two": 1}}))


def test_sliders_from_a_plug_in(promoted: Path, tmp_path: Path):
    file = fit("portraits", promoted, tmp_path / "sliders.safetensors", count=24, method="mean")
    found = Directions.load(file, LATENTS)
    assert found.method == "mean" and any(name.startswith("background=") for name in found.sliders)


def test_what_cannot_be_learnt_from_is_said(promoted: Path, tmp_path: Path):
    empty = tmp_path / "one"
    empty.mkdir()
    Image.new("RGB", (32, 32)).save(empty / "a.png")
    with pytest.raises(DataError, match="no picture"):
        fit(str(empty), promoted, None, count=8, method="ridge")
    with pytest.raises(RecipeError, match="nowhere"):
        fit("nowhere", promoted, None, count=8, method="ridge")


def test_a_model_without_sliders_says_how_to_get_them(promoted: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("KYARA_HOME", str(tmp_path))
    settings.cache_clear()
    generator = ImageGenerator.load(promoted, engine="eager")
    with pytest.raises(RequestError, match=r"'tiny' has no sliders.*kyara directions"):
        generator.answer(parse({"mode": "sliders", "prompt": "smile", "sliders": {"hair_color=red": 1}}))
    with pytest.raises(RequestError, match="sliders"):
        parse({"mode": "sliders", "prompt": "smile", "sliders": {"hair_color=red": 9}})

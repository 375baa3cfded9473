"""The stages of a ControlNet on tiny models: what they leave, that they resume, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from diffusers import ControlNetModel
from PIL import Image

from components.errors import DataError, RecipeError
from components.image.control.dataset import POSE_SUFFIX, read_faces
from components.image.generation.control.pose import Pose, figure
from components.modalities import parse_recipe
from components.recipe import Recipe, merge
from components.runlog import SilentLog
from components.runner import run_stage, stage_folder
from tests.tiny import RESOLUTION, tiny_sd15, tiny_sdxl

SMALL: dict[str, Any] = {
    "dataset": {"count": 6, "held_out": 4, "min_side": 16},
    "train": {
        "steps": 2, "batch_size": 2, "checkpoint_every": 1, "samples": 2, "sample_steps": 1, "reader_steps": 2,
    },
    "evaluate": {"count": 3, "steps": 1, "batch_size": 2, "bootstrap": 100},
}  # fmt: skip


def recipe(kind: str, base: Path, **sections: Any) -> Recipe:
    family = "sdxl" if (base / "text_encoder_2").is_dir() else "sd15"
    model = {"family": family, "base": str(base), "resolution": RESOLUTION}
    data = {"name": f"tiny-{kind}", "modality": "control", "kind": kind, "model": model, "examples": "portraits"}
    return parse_recipe(merge({**data, **SMALL}, sections), "test")


def run(made: Recipe) -> Path:
    for stage in ("dataset", "train", "evaluate"):
        run_stage(made, stage, SilentLog())
    return stage_folder(made, "dataset").parent


@pytest.mark.parametrize("kind", ["sketch", "pose"])
def test_a_world_of_ones_own_goes_through_every_stage(kind: str, home: Path) -> None:
    extra = {"dataset": {"read_groups": ["lorelei"], "read_count": 2}} if kind == "pose" else {}
    out = run(recipe(kind, tiny_sd15(v_prediction=True), **extra))
    index = json.loads((out / "dataset" / "index.json").read_text())
    splits = [sample["split"] for sample in index["samples"]]
    assert (splits.count("train"), splits.count("val"), splits.count("read")) == (6, 4, 2 if extra else 0)
    assert {path.stem for path in (out / "dataset" / "controls").iterdir()} == {row["id"] for row in index["samples"]}
    network = out / "train" / "controlnet"
    assert all(path.stat().st_size <= 14_000_000 for path in network.rglob("*"))
    weights = ControlNetModel.from_pretrained(network).state_dict()
    assert any(value.abs().sum() > 0 for name, value in weights.items() if name.startswith("controlnet_"))
    assert json.loads((network / "control.json").read_text())["kind"] == kind
    assert (network / "reader" / "model.safetensors").is_file() is (kind == "pose")
    metrics = json.loads((out / "evaluate" / "metrics.json").read_text())
    figure_name = "pose.px" if kind == "pose" else "sketch.f1"
    assert {figure_name, f"{figure_name}.interval", f"{kind}.worst", f"{kind}.worst_group"} <= set(metrics)
    with Image.open(out / "evaluate" / "grids" / "compare.png") as sheet:
        assert sheet.width > 4 * 96


def test_it_resumes_to_the_same_weights(home: Path) -> None:
    made = recipe("sketch", tiny_sd15(v_prediction=True), train={"steps": 4})
    run_stage(made, "dataset", SilentLog())

    class Stop(SilentLog):
        def progress(self, done: int, total: int, *, unit: str = "step", **fields: float) -> None:
            if unit == "step" and done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(made, "train", Stop())
    run_stage(made, "train", SilentLog())
    resumed = (stage_folder(made, "train") / "controlnet" / "diffusion_pytorch_model.safetensors").read_bytes()
    other = recipe("sketch", tiny_sd15(v_prediction=True), name="at-once", train={"steps": 4})
    run_stage(other, "dataset", SilentLog())
    run_stage(other, "train", SilentLog())
    assert (stage_folder(other, "train") / "controlnet" / "diffusion_pytorch_model.safetensors").read_bytes() == resumed


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        face = Pose(position=(0.4 + 0.05 * number, 0.5), scale=0.6 + 0.1 * number).keypoints()
        figure(face, (2 * RESOLUTION, RESOLUTION + 8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"portrait number {number}", encoding="utf-8")
        (folder / f"{number}{POSE_SUFFIX}").write_text(json.dumps(face.as_json()), encoding="utf-8")
    return folder


def test_a_folder_of_ones_own(pictures: Path, home: Path) -> None:
    """SDXL, buckets, key points beside the pictures, moved with the crop."""
    own = {"source": str(pictures), "validation_share": 0.3, "duplicate_distance": 0}
    made = recipe("pose", tiny_sdxl(), examples=None, dataset=own)
    out = run(made)
    faces = read_faces(out / "dataset")
    assert len(faces) == 5
    index = json.loads((out / "dataset" / "index.json").read_text())
    for sample in index["samples"]:
        number = int(sample["file"][0])
        width, height = 2 * RESOLUTION, RESOLUTION + 8
        scale = max(sample["width"] / width, sample["height"] / height)
        expected = ((0.4 + 0.05 * number) * width * scale - sample["crop"][0]) / sample["width"]
        assert faces[sample["id"]].points[4, 0] == pytest.approx(expected)
    assert "portrait number" in index["samples"][0]["captions"][0]


def test_key_points_that_are_missing_or_broken_are_named(pictures: Path, home: Path) -> None:
    made = recipe("pose", tiny_sd15(), examples=None, dataset={"source": str(pictures), "duplicate_distance": 0})
    (pictures / f"2{POSE_SUFFIX}").write_text('{"points": [[0, 0]], "radii": [1, 1]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"2.pose.json.*expected 5 points"):
        run_stage(made, "dataset", SilentLog())
    (pictures / f"2{POSE_SUFFIX}").unlink()
    with pytest.raises(DataError, match=r"2.png.*has no key points"):
        run_stage(made, "dataset", SilentLog())


def test_pictures_come_from_one_place() -> None:
    with pytest.raises(RecipeError, match="set one of them"):
        recipe("pose", tiny_sd15(), dataset={"source": "somewhere"})
    with pytest.raises(RecipeError, match="set one of them"):
        recipe("pose", tiny_sd15(), examples=None)

"""The recipes for SD 1.5 and SDXL through every stage, on tiny random models of the same classes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.modalities import product, stage_names
from components.runlog import SilentLog
from components.runner import run_stage, stage_folder, stage_outputs
from flows.stage import open_recipe
from tests.tiny import RESOLUTION, tiny_sd15, tiny_sdxl

# Only what makes it small: names of files, sizes and counts.
SMALL: dict[str, Any] = {
    "dataset": {"min_side": 16},
    "train": {"rank": 2, "alpha": 2, "epochs": 2, "checkpoint_every": 1, "samples": 1, "sample_steps": 2},
    "distill": {"rank": 2, "alpha": 2, "steps": 2, "batch_size": 2, "checkpoint_every": 1, "samples": 1},
    "evaluate": {
        "count": 2,
        "other_count": 1,
        "teacher_steps": 2,
        "lcm_steps": [1, 2],
        "main_steps": 2,
        "timing_runs": 3,
        "bootstrap": 100,
    },
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(8):
        pixels = noise.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        side = RESOLUTION + 8 * (number % 2)
        Image.fromarray(pixels).resize((side, RESOLUTION), Image.Resampling.NEAREST).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"portrait, smile, number {number}", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["anime-sd15", "anime-sdxl"])
def test_a_recipe_runs_through_every_stage(name: str, pictures: Path, home: Path) -> None:
    base = tiny_sdxl() if name.endswith("sdxl") else tiny_sd15()
    model = {"base": str(base), "resolution": RESOLUTION}
    source = {**SMALL["dataset"], "source": str(pictures), "validation_share": 0.25}
    recipe = open_recipe(name, {**SMALL, "model": model, "dataset": source})
    for stage in stage_names(recipe):
        assert not run_stage(recipe, stage, SilentLog()).skipped
    for stage in stage_names(recipe):
        assert run_stage(recipe, stage, SilentLog()).skipped
    metrics = json.loads((stage_folder(recipe, "evaluate") / "metrics.json").read_text(encoding="utf-8"))
    assert set(recipe.promote.thresholds) <= set(metrics) and metrics["speed.total"] > 0


def test_a_recipe_that_distils_nothing_serves_its_lora(pictures: Path, home: Path) -> None:
    source = {**SMALL["dataset"], "source": str(pictures), "validation_share": 0.25}
    model = {"base": str(tiny_sd15()), "resolution": RESOLUTION}
    recipe = open_recipe("anime-sd15", {**SMALL, "model": model, "dataset": source, "distill": None})
    assert stage_names(recipe) == ("dataset", "train", "evaluate")
    for stage in stage_names(recipe):
        run_stage(recipe, stage, SilentLog())
    made = product(recipe.modality)
    made.assemble(recipe, stage_outputs(recipe), home / "model", version="1", parents={})
    generator = made.load(home / "model", {"engine": "eager"})
    *previews, done = generator.run(made.Request(prompt="a girl", seed=1))
    assert (len(previews), generator.card["mode"], done.metadata["sampler"]) == (2, "none", "dpmpp_2m")
    assert done.metadata["guidance_scale"] == recipe.step("evaluate").guidance


def test_a_recipe_without_portraits_loads_none_of_them(pictures: Path, home: Path) -> None:
    """Nothing general knows the embedded world."""
    code = (
        "import sys, json; from components.runlog import SilentLog; from components.runner import run_stage\n"
        "from components.modalities import stage_names; from flows.stage import open_recipe\n"
        "recipe = open_recipe('anime-sd15', json.loads(sys.argv[1]))\n"
        "for stage in stage_names(recipe): run_stage(recipe, stage, SilentLog())\n"
        "sys.exit(','.join(name for name in sys.modules if name.startswith('components.portraits')) or 0)"
    )
    model = {"base": str(tiny_sd15()), "resolution": RESOLUTION}
    overrides = {**SMALL, "model": model, "dataset": {**SMALL["dataset"], "source": str(pictures)}}
    done = subprocess.run([sys.executable, "-c", code, json.dumps(overrides)], capture_output=True, text=True)
    assert (done.returncode, done.stderr[-2000:] if done.returncode else "") == (0, "")

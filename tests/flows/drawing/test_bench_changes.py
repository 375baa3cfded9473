"""The parts of `kyara bench modes` that change pictures, on a tiny champion."""

import json
from pathlib import Path

import pytest

from components.artifact import point
from components.errors import RequestError
from components.settings import settings
from flows.bench.modes import run
from tests.promoted import home, tiny_version
from tests.tiny import RESOLUTION, tiny_judge, tiny_prompts, tiny_sd15


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    with home(tmp_path_factory.mktemp("changes")) as folder:
        version = tiny_version(settings().models_dir, "1")
        point(version.parent, "1")
        attributes = {"hair_color": "pink", "expression": "smile"}
        values = {
            "name": "tiny",
            "trigger": "kyarachar",
            "model": {"base": str(tiny_sd15()), "resolution": RESOLUTION},
            "judge": {"plugin": "portraits", "folder": str(tiny_judge(folder / "judge")), "style": "lorelei"},
            "reader": "portraits",
            "prompts": str(tiny_prompts(folder / "prompts", attributes=attributes)),
            "dataset": {"source": "nowhere"},
            "evaluate": {"bootstrap": 100},
        }
        file = folder / "tiny.yaml"
        file.write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
        yield file


def test_what_changes_pictures_is_measured(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "modes.json"
    metrics = run(str(recipe), out, modes="edit,animation,img2img,invert", overrides={"count": 2})
    means = {"edit.changed", "animation.even", "animation.reached", "img2img.reached", "invert.psnr_gap"}
    for name in means:
        assert len(metrics[f"{name}.interval"]) == 2 and f"{name}.worst" in metrics
    assert metrics["inpaint.outside_equal"] == 1
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4 and "http" not in page


@pytest.mark.parametrize(("missing", "said"), [("judge", "no judge"), ("prompts", "no prompt sets")])
def test_a_recipe_that_cannot_be_measured(recipe: Path, tmp_path: Path, missing: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        run(str(recipe), tmp_path / "a.json", modes="edit", overrides={"count": 2, missing: None})

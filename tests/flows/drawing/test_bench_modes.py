"""`kyara bench modes` on a tiny champion: its figures, its page, and that it goes on where it stopped."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.artifact import ArtifactError, point
from components.errors import RequestError
from components.settings import settings
from flows.bench.modes import run
from tests.controlnets import loud_controlnet
from tests.promoted import home, tiny_version
from tests.tiny import RESOLUTION, tiny_judge, tiny_sd15


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A champion that carries both ControlNets, and its recipe."""
    with home(tmp_path_factory.mktemp("modes")) as folder:
        version = tiny_version(settings().models_dir, "1")
        for kind in ("pose", "sketch"):
            loud_controlnet(tiny_sd15(), version / "controlnets" / kind, kind)
        point(version.parent, "1")
        values = {
            "name": "tiny",
            "trigger": "kyarachar",
            "model": {"base": str(tiny_sd15()), "resolution": RESOLUTION},
            "judge": {"plugin": "portraits", "folder": str(tiny_judge(folder / "judge")), "style": "lorelei"},
            "dataset": {"source": "nowhere"},
            "evaluate": {"teacher_steps": 1, "bootstrap": 100},
        }
        file = folder / "tiny.yaml"
        file.write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
        yield file


def test_the_control_part(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "modes.json"
    metrics = run(str(recipe), out, modes="control", overrides={"count": 3})
    wanted = {"pose.px", "pose.px.interval", "pose.worst", "pose.ratio", "pose.reader_px", "sketch.f1", "sketch.ratio"}
    assert wanted | {"lcm.control_ratio", "lcm.pose.px", "lcm.sketch.f1"} <= set(metrics)
    ratios = [metrics[f"lcm.{kind}.control_ratio"] for kind in ("pose", "sketch")]
    assert metrics["lcm.control_ratio"] == min(ratios) and metrics["cases"] == 3
    assert json.loads(out.read_text()) == metrics
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2 and "control: pose" in page and "http" not in page
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "modes").rglob("*.png")}
    assert len(kept) == 2 * 4 * 3
    assert run(str(recipe), out, modes="control", overrides={"count": 3}) == metrics
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_what_cannot_be_measured(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"part 'dance' of the modes is unknown"):
        run(str(recipe), tmp_path / "a.json", modes="dance")
    with pytest.raises(RequestError, match="makes no pictures"):
        run("control-pose", tmp_path / "a.json")
    with pytest.raises(ArtifactError, match="no readable champion pointer"):
        run(str(recipe), tmp_path / "a.json", modes="control", overrides={"name": "another"})
    with pytest.raises(RequestError, match="not of the embedded world"):
        run(str(recipe), tmp_path / "a.json", modes="control", overrides={"judge": None})

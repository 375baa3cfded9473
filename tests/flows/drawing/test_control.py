"""`kyara produce flows/recipes/control-pose.yaml` at tiny size: every stage, registered, never a champion."""

from pathlib import Path
from typing import Any

import pytest

from components import tracking
from components.artifact import latest_champion, open_sealed
from components.errors import GateRefused, ModelError, TrackingError
from components.image.generation.control.shelf import find
from components.modalities import product, serves
from components.settings import settings
from flows.foreground import produce_here
from flows.promote import models_folder, rollback
from flows.stage import open_recipe
from tests.promoted import home
from tests.tiny import RESOLUTION, tiny_sd15

RECIPE = str(Path(__file__).resolve().parents[3] / "flows" / "recipes" / "control-pose.yaml")


def small(most: float) -> dict[str, Any]:
    return {
        "model": {"base": str(tiny_sd15(v_prediction=True)), "resolution": RESOLUTION},
        "dataset": {"count": 6, "held_out": 3, "read_count": 2},
        "train": {
            "steps": 2, "batch_size": 2, "checkpoint_every": 1, "samples": 1, "sample_steps": 1, "reader_steps": 2,
        },
        "evaluate": {"count": 2, "steps": 1, "bootstrap": 100},
        "promote": {"thresholds": {"pose.ratio": {"max": most}}},
    }  # fmt: skip


@pytest.mark.usefixtures("prefect_server")
def test_it_is_produced_and_registered(tmp_path_factory: pytest.TempPathFactory) -> None:
    with home(tmp_path_factory.mktemp("control")):
        first = produce_here(RECIPE, small(100.0))
        assert not any(first["skipped"].values())
        assert list(first["skipped"]) == ["dataset", "train", "evaluate", "promote"] and first["bento.tag"] is None
        folder = models_folder("control-pose", "control")
        assert first["model"] == str(folder / "1")
        assert open_sealed(folder / "1", verify=True).manifest["meta"]["version"] == "1"
        (version,) = tracking.versions("control-pose")
        assert version.tags["state"] == "accepted"
        assert tracking.champion("control-pose") is None and latest_champion(settings().models_dir) is None
        assert all(produce_here(RECIPE, small(100.0))["skipped"].values())
        shelved = find("pose", None, "any base")
        assert shelved.name == "control-pose" and Path(shelved.place).parent == folder / "1"
        with pytest.raises(TrackingError, match="has no champion"):
            rollback("control-pose")
        with pytest.raises(ModelError, match="draws nothing by itself"):
            product("control").load(folder / "1")
        with pytest.raises(GateRefused, match=r"pose.ratio"):
            produce_here(RECIPE, {**small(0.0), "seed": 1})
        assert {each.tags["state"] for each in tracking.versions("control-pose")} == {"accepted", "refused"}
        assert Path(find("pose", None, "any base").place).parent == folder / "1", "a refused one is not used"


def test_only_picture_models_serve() -> None:
    assert not serves(open_recipe("control-sketch")) and serves(open_recipe("manga-tiny"))

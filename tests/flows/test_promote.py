import json
from pathlib import Path

import pytest

from components import tracking
from components.artifact import pointed
from components.errors import GateRefused, TrackingError
from components.settings import settings
from flows.promote import models_folder, recorded_metrics, rollback
from tests.stages import Make


def folder_of(name: str) -> Path:
    return models_folder(name, "image")


def states(name: str) -> list[str]:
    return [version.tags["state"] for version in tracking.versions(name)]


def test_the_first_good_model_is_the_champion(make: Make, name: str) -> None:
    made = make()
    assert made.changed and made.version == "1"
    assert made.folder == folder_of(name) / "1" == pointed(folder_of(name))
    champion = tracking.champion(name)
    assert champion is not None and champion.number == "1" and champion.tags["state"] == "accepted"
    assert recorded_metrics(champion)["lora.style"] == 0.97
    card = json.loads((made.folder / "model.json").read_text(encoding="utf-8"))
    assert card["version"] == "1" and card["parents"]["mlflow.run_id"] == champion.run_id
    assert made.labels["mlflow_run_id"] == champion.run_id and made.labels["mlflow_version"] == "1"


def test_nothing_is_done_twice(make: Make, name: str) -> None:
    make()
    again = make()
    assert not again.changed and again.version == "1" and states(name) == ["accepted"]


def test_a_lost_pointer_is_written_again(make: Make, name: str) -> None:
    make()
    (folder_of(name) / "champion").unlink()
    assert make().changed and pointed(folder_of(name)).name == "1" and states(name) == ["accepted"]


def test_a_model_below_a_threshold_is_kept_marked_and_not_served(make: Make, name: str) -> None:
    make()
    with pytest.raises(GateRefused, match=r"version 2 .* kept but not promoted:\n  - lora.style is 0.5") as refused:
        make({"lora.style": 0.5}, seed=1)
    assert len(refused.value.failures) == 1
    assert states(name) == ["accepted", "refused"]
    assert "lora.style" in tracking.versions(name)[1].tags["failures"]
    assert (folder_of(name) / "2" / "manifest.json").is_file() and pointed(folder_of(name)).name == "1"


def test_a_refused_model_is_not_registered_twice(make: Make, name: str) -> None:
    for _ in range(2):
        with pytest.raises(GateRefused):
            make({"lora.style": 0.5})
    assert states(name) == ["refused"]


def test_a_model_worse_than_the_champion_is_refused(make: Make, name: str) -> None:
    make()
    with pytest.raises(GateRefused, match=r"lcm4.adherence is 0.8"):
        make({"lcm4.adherence": 0.8, "lcm4.adherence.interval": [0.7, 0.9]}, seed=1)


def test_a_champion_measured_otherwise_is_evaluated_again(make: Make, name: str, tmp_path: Path) -> None:
    make()
    # Both are measured by the second judge now, which finds the same in both.
    made = make({"judge.digest": "judge-2", "lcm4.adherence": 0.6, "lcm4.adherence.interval": [0.55, 0.65]}, seed=1)
    assert made.version == "2" and made.changed
    assert (settings().artifacts / name / "champion-1" / "metrics.json").is_file()


def test_rollback_returns_to_the_previous_champion(make: Make, name: str) -> None:
    make()
    make(seed=1)
    back = rollback(name)
    assert back.version == "1" and pointed(folder_of(name)).name == "1" and states(name) == ["accepted", "withdrawn"]
    champion = tracking.champion(name)
    assert champion is not None and champion.number == "1"


def test_what_was_rolled_back_is_not_promoted_again_unless_it_is_named(make: Make, name: str) -> None:
    make()
    make(seed=1)
    rollback(name)
    again = make(seed=1)
    assert again.version == "1" and not again.changed
    assert rollback(name, to="2").version == "2" and states(name) == ["withdrawn", "accepted"]


def test_rollback_without_anything_to_return_to(make: Make, name: str) -> None:
    with pytest.raises(TrackingError, match=r"has no champion"):
        rollback(name)
    make()
    with pytest.raises(TrackingError, match=r"no accepted version"):
        rollback(name)
    with pytest.raises(TrackingError, match=r"version 7 .* Versions that can be named with --to: none"):
        rollback(name, to="7")

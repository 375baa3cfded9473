"""The runner with stages that only behave (tests/stages.py); real stages run in tests/flows/test_recipes.py."""

import errno
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from components import modalities
from components.contracts import Modality, RunLog
from components.errors import ArtifactError, EnvironmentProblem, RecipeError
from components.modalities import parse_recipe
from components.recipe import Recipe
from components.runlog import SilentLog
from components.runner import code_version, run_stage, stage_folder

calls: list[str] = []


def write(config: Any, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    calls.append(out.name)
    (out / "seen.txt").write_text(f"{config.seed} {sorted(inputs)}")


def interrupt(config: Any, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    resumed = (out / "half.txt").exists()
    (out / "half.txt").write_text("half")
    if not resumed:
        raise KeyboardInterrupt


def fill_disk(config: Any, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _use(monkeypatch: pytest.MonkeyPatch, **stages: str) -> None:
    table = {name: f"{__name__}:{stages.get(name, 'write')}" for name in ("dataset", "train")}
    row = Modality("image", "components.image.recipe:ImageRecipe", MappingProxyType(table), "components.image.product")
    monkeypatch.setattr(modalities, "MODALITIES", {"image": row})
    calls.clear()


def _recipe(home: Path, seed: int = 0) -> Recipe:
    (home / "pictures").mkdir(exist_ok=True)
    base = {"base": str(home / "base")}
    return parse_recipe(
        {"name": "x", "trigger": "x", "seed": seed, "model": base, "dataset": {"source": str(home / "pictures")}},
        "here",
    )


def test_current_output_is_skipped_until_config_or_input_changes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch)
    assert not run_stage(_recipe(home), "dataset", SilentLog()).skipped
    assert run_stage(_recipe(home), "dataset", SilentLog()).skipped
    assert not run_stage(_recipe(home, seed=1), "dataset", SilentLog()).skipped
    (home / "pictures" / "new.png").write_bytes(b"x")
    assert not run_stage(_recipe(home, seed=1), "dataset", SilentLog()).skipped
    assert len(calls) == 3


def test_finished_output_is_set_aside_not_deleted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch)
    run_stage(_recipe(home), "dataset", SilentLog())
    run_stage(_recipe(home, seed=1), "dataset", SilentLog())
    (aside,) = (stage_folder(_recipe(home), "dataset").parent / ".previous").iterdir()
    assert (aside / "seen.txt").read_text().startswith("0 ")


def test_deleted_output_is_made_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch)
    run_stage(_recipe(home), "dataset", SilentLog())
    (stage_folder(_recipe(home), "dataset") / "seen.txt").unlink()
    assert not run_stage(_recipe(home), "dataset", SilentLog()).skipped


def test_an_interrupted_stage_finds_its_own_files_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, dataset="interrupt")
    with pytest.raises(KeyboardInterrupt):
        run_stage(_recipe(home), "dataset", SilentLog())
    assert not run_stage(_recipe(home), "dataset", SilentLog()).skipped


def test_another_configuration_does_not_resume_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, dataset="interrupt")
    for seed in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            run_stage(_recipe(home, seed), "dataset", SilentLog())


def test_a_stage_before_its_turn_says_what_to_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch)
    with pytest.raises(ArtifactError, match="kyara stage RECIPE dataset"):
        run_stage(_recipe(home), "train", SilentLog())


def test_a_full_disk_is_one_clear_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, dataset="fill_disk")
    with pytest.raises(EnvironmentProblem, match=r"is full.*resumes"):
        run_stage(_recipe(home), "dataset", SilentLog())


def test_an_unknown_stage_lists_the_known_ones(home: Path) -> None:
    with pytest.raises(RecipeError, match="dataset, train, distill"):
        run_stage(_recipe(home), "bake", SilentLog())


def test_code_version_follows_imports_but_not_neutral_rooms() -> None:
    assert code_version("components.statistics") == code_version("components.statistics")
    assert code_version("components.statistics") != code_version("components.portraits.judge")


def test_unsealed_work_survives_a_change_and_comes_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade of the code or another setting must not cost a training of twenty hours."""
    _use(monkeypatch, dataset="interrupt")
    with pytest.raises(KeyboardInterrupt):
        run_stage(_recipe(home), "dataset", SilentLog())
    with pytest.raises(KeyboardInterrupt):
        run_stage(_recipe(home, seed=1), "dataset", SilentLog())
    (aside,) = (stage_folder(_recipe(home), "dataset").parent / ".previous").iterdir()
    assert (aside / "half.txt").read_text() == "half"
    assert not run_stage(_recipe(home), "dataset", SilentLog()).skipped  # takes up half.txt, else it would stop again
    assert not aside.exists()


def test_what_changed_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Notes(SilentLog):
        told = ""

        def message(self, text: str) -> None:
            self.told += text

    _use(monkeypatch)
    run_stage(_recipe(home), "dataset", SilentLog())
    (home / "pictures" / "new.png").write_bytes(b"x")
    run_stage(_recipe(home, seed=1), "dataset", log := Notes())
    assert "its configuration, its input 'data' changed" in log.told


def test_another_version_of_a_library_is_said_and_nothing_is_made_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    _use(monkeypatch)
    run_stage(_recipe(home), "dataset", SilentLog())
    monkeypatch.setattr("components.runner.library_versions", lambda: {"torch": "99.0"})
    monkeypatch.setattr(SilentLog, "message", lambda self, text: said.append(text))
    assert run_stage(_recipe(home), "dataset", SilentLog()).skipped
    assert any("(now 99.0)" in text for text in said)

"""Which model is served, and when another takes over. Folders are sealed ones; test_service has real models in them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.artifact import POINTER, open_sealed, point, seal
from components.contracts import Done, Preview
from components.errors import ModelError
from serving.champion import Champion, Served


class Still:
    """A generator that draws nothing."""

    def generate(self, request: object) -> Iterator[Preview | Done]:
        yield from ()


def load(folder: Path) -> Served:
    artifact = open_sealed(folder, verify=True)
    if (folder / "weights").read_text() == "foreign":
        raise ModelError("the weights are of another family.")
    return Served(Still(), {"name": "tiny", "version": folder.name, "digest": artifact.digest}, folder)


def version(models: Path, name: str, weights: str = "") -> Path:
    folder = models / name
    folder.mkdir(parents=True)
    (folder / "weights").write_text(weights or name)
    seal(folder, "", {})
    return folder


def label(champion: Champion) -> str | None:
    return champion.current.label if champion.current else None


def test_the_pinned_model_is_served_where_nothing_is_watched(tmp_path: Path) -> None:
    champion = Champion(load, pinned=version(tmp_path, "pinned"), watched=None)
    assert champion.current is None
    asyncio.run(champion.watch(lambda served: None))
    assert label(champion) == "tiny:pinned"


def test_the_watched_champion_wins_and_is_followed(tmp_path: Path) -> None:
    pinned, models = version(tmp_path, "pinned"), tmp_path / "models"
    version(models, "1")
    version(models, "2")
    champion = Champion(load, pinned=pinned, watched=models)
    champion.refresh()
    assert label(champion) == "tiny:pinned"
    for promoted in ("1", "2", "1"):
        point(models, promoted)
        champion.refresh()
        assert label(champion) == f"tiny:{promoted}"


@pytest.mark.parametrize("damage", ["weights", "manifest", "gone", "foreign", "pointer"])
def test_a_damaged_champion_is_refused_once_and_taken_when_mended(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    version(tmp_path, "1")
    point(tmp_path, "1")
    champion = Champion(load, pinned=None, watched=tmp_path)
    champion.refresh()
    bad = version(tmp_path, "2", "foreign" if damage == "foreign" else "")
    point(tmp_path, "2")
    if damage == "weights":
        (bad / "weights").write_text("3")
    elif damage == "manifest":
        (bad / "manifest.json").write_text("{")
    elif damage == "gone":
        bad.rename(tmp_path / "elsewhere")
    elif damage == "pointer":
        (tmp_path / POINTER).write_text("../elsewhere")
    for _ in range(3):
        champion.refresh()
    assert label(champion) == "tiny:1"
    assert len(caplog.records) == 1
    version(tmp_path, "3")
    point(tmp_path, "3")
    champion.refresh()
    assert label(champion) == "tiny:3"


def test_a_damaged_first_champion_leaves_the_pinned_model(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (version(models, "1") / "weights").write_text("damaged")
    point(models, "1")
    champion = Champion(load, pinned=version(tmp_path, "pinned"), watched=models)
    champion.refresh()
    assert label(champion) == "tiny:pinned"


def test_watching_tells_of_each_swap_and_ends_when_cancelled(tmp_path: Path) -> None:
    version(tmp_path, "1")
    version(tmp_path, "2")
    point(tmp_path, "1")
    seen: list[str] = []

    async def scene() -> None:
        champion = Champion(load, pinned=None, watched=tmp_path)
        task = asyncio.create_task(champion.watch(lambda served: seen.append(served.label), every=0.01))
        await asyncio.sleep(0.1)
        point(tmp_path, "2")
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        champion.close()

    asyncio.run(scene())
    assert seen == ["tiny:1", "tiny:2"]

"""Which model is served, and when another takes over. Folders are sealed ones; test_service has real models in them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.artifact import POINTER, open_sealed, point, seal
from components.contracts import Done, Preview
from components.errors import ModelError
from serving.champion import FIRST_PAUSE, LONGEST_PAUSE, Champion, Served


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


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("watching", [True, False])
def test_a_model_that_failed_is_tried_again_after_growing_pauses(tmp_path: Path, watching: bool) -> None:
    """Nothing changes on the disk: what failed was the machine's memory, say."""
    folder, clock, tries = version(tmp_path, "1"), Clock(), []

    def stumble(folder: Path) -> Served:
        tries.append(clock.now)
        if len(tries) < 5:
            raise MemoryError
        return load(folder)

    point(tmp_path, "1")
    champion = Champion(
        stumble, pinned=None if watching else folder, watched=tmp_path if watching else None, clock=clock
    )
    while champion.current is None:
        champion.refresh()
        clock.now += 1
        assert clock.now < 1000
    assert tries == [0, 5, 15, 35, 75]
    champion.refresh()
    assert len(tries) == 5


def test_pauses_have_an_end_and_another_champion_is_tried_at_once(tmp_path: Path) -> None:
    version(tmp_path, "1", "foreign")
    version(tmp_path, "2", "foreign")
    point(tmp_path, "1")
    clock, tries = Clock(), []

    def note(folder: Path) -> Served:
        tries.append(clock.now)
        return load(folder)

    champion = Champion(note, pinned=None, watched=tmp_path, clock=clock)
    for clock.now in range(2000):
        champion.refresh()
    assert tries[-1] - tries[-2] == LONGEST_PAUSE
    point(tmp_path, "2")
    champion.refresh()
    clock.now += FIRST_PAUSE
    champion.refresh()
    assert tries[-2:] == [1999, 1999 + FIRST_PAUSE]


def test_the_champion_replaces_the_pinned_model_that_stood_in_for_it(tmp_path: Path) -> None:
    models, clock, broken = tmp_path / "models", Clock(), [True]
    version(models, "1")
    point(models, "1")

    def stumble(folder: Path) -> Served:
        if folder.parent == models and broken:
            raise MemoryError
        return load(folder)

    champion = Champion(stumble, pinned=version(tmp_path, "pinned"), watched=models, clock=clock)
    champion.refresh()
    assert label(champion) == "tiny:pinned"
    broken.clear()
    clock.now += FIRST_PAUSE
    champion.refresh()
    assert label(champion) == "tiny:1"


def test_watching_a_pinned_model_ends_with_its_load_and_not_before(tmp_path: Path) -> None:
    tries = []

    def stumble(folder: Path) -> Served:
        tries.append(folder)
        if len(tries) == 1:
            raise MemoryError
        return load(folder)

    ticking = iter(range(0, 10**6, 3))
    champion = Champion(stumble, pinned=version(tmp_path, "1"), watched=None, clock=lambda: next(ticking))
    asyncio.run(champion.watch(lambda served: None, every=0))
    assert label(champion) == "tiny:1" and len(tries) == 2


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

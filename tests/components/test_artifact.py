import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.artifact import (
    POINTER,
    digest_of,
    is_complete,
    latest_champion,
    open_sealed,
    point,
    pointed,
    promoted_at,
    replacing,
    seal,
    write_json,
)
from components.errors import ArtifactError


def _folder(path: Path) -> Path:
    (path / "sub").mkdir(parents=True)
    (path / "a.txt").write_text("a")
    (path / "sub" / "b.txt").write_text("b")
    (path / ".hidden").write_text("not sealed")
    return path


def test_a_sealed_folder_opens_and_verifies(tmp_path: Path) -> None:
    sealed = seal(_folder(tmp_path / "x"), "print", {"data": "d"}, {"stage": "train"})
    again = open_sealed(tmp_path / "x", verify=True)
    assert again.digest == sealed.digest
    assert again.fingerprint == "print"
    assert set(again.manifest["files"]) == {"a.txt", "sub/b.txt"}


def test_equal_content_has_equal_digest_wherever_it_lies(tmp_path: Path) -> None:
    one, two = seal(_folder(tmp_path / "x"), "p", {}), seal(_folder(tmp_path / "y"), "q", {})
    assert one.digest == two.digest == digest_of(tmp_path / "y")


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    seal(_folder(tmp_path / "x"), "p", {})
    file = tmp_path / "x" / "sub" / "b.txt"
    if damage == "change":
        file.write_text("c")
    else:
        file.unlink()
        assert not is_complete(open_sealed(tmp_path / "x"))
    with pytest.raises(ArtifactError, match=r"b\.txt"):
        open_sealed(tmp_path / "x", verify=True)


def test_an_unsealed_and_a_broken_manifest_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not sealed"):
        open_sealed(_folder(tmp_path / "x"))
    (tmp_path / "x" / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        open_sealed(tmp_path / "x")


def test_replacing_leaves_the_old_one_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "value.json"
    write_json(target, 1)
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "1\n"
    assert list(tmp_path.iterdir()) == [target]


def test_replacing_swaps_a_whole_folder(tmp_path: Path) -> None:
    target = _folder(tmp_path / "x")
    with replacing(target) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("n")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def _version(folder: Path) -> Path:
    seal(_folder(folder), "p", {})
    return folder


def test_a_pointer_names_the_version_and_its_time(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    point(tmp_path, _version(tmp_path / "1").name)
    assert pointed(tmp_path) == tmp_path / "1"
    assert before <= promoted_at(tmp_path) <= datetime.now(UTC)


@pytest.mark.parametrize("wrong", ["", "..", "../1", ".hidden\n2026-01-01T00:00:00+00:00"])
def test_a_pointer_that_leads_elsewhere_is_refused(tmp_path: Path, wrong: str) -> None:
    (tmp_path / POINTER).write_text(wrong)
    with pytest.raises(ArtifactError, match="pointer"):
        pointed(tmp_path)


def test_the_latest_champion_is_the_one_promoted_last_whatever_the_files_times(tmp_path: Path) -> None:
    assert latest_champion(tmp_path) is None
    one, two, old = (tmp_path / "image" / name for name in ("one", "two", "old"))
    for recipe in (one, two, old):
        _version(recipe / "1")
    for recipe in (two, one, two):
        point(recipe, "1")
    (old / POINTER).write_text("1\n")  # as it was written before it had a time
    for age, recipe in enumerate((two, one, old)):  # as a copy or a checkout leaves them
        os.utime(recipe / POINTER, (age + 1, age + 1))
    assert latest_champion(tmp_path) == two / "1"
    point(old, "1")
    assert latest_champion(tmp_path) == old / "1"

"""A version from the registry, on one machine: what comes back, what is refused, what is linked."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import tracking
from components.artifact import open_sealed, pointed, sha256
from components.errors import EnvironmentProblem, GateRefused, RequestError, TrackingError
from components.settings import settings
from flows import registry
from flows.promote import models_folder, rollback
from flows.pull import Reference, pull
from tests.stages import Make


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("manga-tiny", "models:/manga-tiny@champion"),
        ("manga-tiny@staging", "models:/manga-tiny@staging"),
        ("manga-tiny:3", "models:/manga-tiny/3"),
        ("models:/manga-tiny/3", "models:/manga-tiny/3"),
        (" models:/manga-tiny@champion ", "models:/manga-tiny@champion"),
    ],
)
def test_a_version_is_named_in_two_ways(text: str, meant: str) -> None:
    assert str(Reference.parse(text)) == meant == str(Reference.parse(meant))


@pytest.mark.parametrize("text", ["", "../x", "a/b/c", "a@", "a:0", "a:latest", "runs:/a", "a" * 101, "a@b@c", "a\n"])
def test_what_names_no_model_is_refused(text: str) -> None:
    if text == "a\n":
        assert str(Reference.parse(text)) == "models:/a@champion"
        return
    with pytest.raises(RequestError, match="names no registered model"):
        Reference.parse(text)


@pytest.fixture(autouse=True)
def _own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests made has equal files, which would be linked."""
    monkeypatch.setenv("KYARA_MODELS", str(tmp_path / "models"))
    settings.cache_clear()


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Any]:
    """A recipe's section that names a base in a folder."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights.safetensors").write_bytes(b"weights" * 1000)
    return {"base": str(tmp_path / "base")}


def test_a_lost_folder_comes_back_as_it_was(make: Make, name: str, base: dict[str, Any]) -> None:
    made = make(model=base)
    before = {file.relative_to(made.folder): sha256(file) for file in made.folder.rglob("*") if file.is_file()}
    shutil.rmtree(made.folder.parent)
    said: list[str] = []
    pulled = pull(Reference.parse(name), said.append)
    assert pulled.changed and pulled.folder == made.folder == pointed(made.folder.parent)
    after = {file.relative_to(made.folder): sha256(file) for file in made.folder.rglob("*") if file.is_file()}
    assert after == before and "files of version 1" in said[0]
    assert not list(made.folder.parent.glob(".*"))
    assert not pull(Reference.parse(name)).changed


def test_two_versions_share_their_base_in_the_store_and_on_the_disk(
    make: Make, name: str, base: dict[str, Any]
) -> None:
    first, second = make(model=base), make(model=base, seed=1)
    digest = sha256(first.folder / "base" / "weights.safetensors")
    store = tracking.shared_files().local
    assert store is not None and len(list(store.rglob(digest))) == 1
    assert tracking.OBJECTS not in tracking.experiments() and name in tracking.experiments()
    shutil.rmtree(second.folder)
    pull(Reference(name, number="2"))
    one, two = (each.folder / "base" / "weights.safetensors" for each in (first, second))
    assert one.samefile(two)


def test_a_version_that_was_not_accepted_or_is_not_there_is_refused(make: Make, name: str) -> None:
    with pytest.raises(TrackingError, match=r"has no 'models:/.*@champion'"):
        pull(Reference(name))
    with pytest.raises(GateRefused):
        make({"lora.style": 0.5})
    with pytest.raises(TrackingError, match="was not accepted"):
        pull(Reference(name, number="1"))
    with pytest.raises(TrackingError, match=r"has no .*/7"):
        pull(Reference(name, number="7"))


def test_a_version_of_an_older_kyara_says_what_to_do(make: Make, name: str) -> None:
    with pytest.MonkeyPatch.context() as older:
        older.setattr("flows.promote.push", lambda recipe, version, folder, log: version)
        made = make()
    (version,) = tracking.versions(name)
    assert not registry.is_pushed(version)
    tracking.tag_version(version, {"modality": "image"})
    shutil.rmtree(made.folder)
    with pytest.raises(TrackingError, match="holds no files of version 1"):
        pull(Reference(name))


def altered(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest in the registry, and the tag that vouches for it: a registry that lies."""
    (version,) = tracking.versions(name)
    place = tracking.run_files(version.run_id).local
    assert place is not None
    manifest = place / "model" / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    change(content["files"])
    manifest.unlink()
    manifest.write_text(json.dumps(content), encoding="utf-8")
    tracking.tag_version(version, {"manifest": sha256(manifest)})


BAD = ["../../outside", "/etc/passwd", "a//b", "manifest.json", ".hidden", "a/../b", "a\\b", "c:x"]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_names_that_lead_out_of_the_folder_are_refused(make: Make, name: str, bad: str) -> None:
    made = make()
    altered(name, lambda files: files.update({bad: files["model.json"]}))
    shutil.rmtree(made.folder)
    with pytest.raises(TrackingError, match="no manifest of ours"):
        pull(Reference(name))
    assert not made.folder.exists()


def test_a_full_disk_is_told_before_anything_is_sent(make: Make, name: str) -> None:
    made = make()
    altered(name, lambda files: files["model.json"].update(size=2**60, sha256="0" * 64))
    shutil.rmtree(made.folder)
    with pytest.raises(EnvironmentProblem, match="MiB are to be stored"):
        pull(Reference(name))


def test_what_was_received_before_an_interruption_is_not_sent_again(
    make: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make()
    files = open_sealed(made.folder).manifest["files"]
    shutil.rmtree(made.folder)
    asked: list[str] = []
    usual = tracking.ArtifactFolder.get

    def cut(store: tracking.ArtifactFolder, what: str, target: Path) -> None:
        asked.append(what)
        if len(asked) == 3:
            raise TrackingError("the line was cut.")
        usual(store, what, target)

    monkeypatch.setattr(tracking.ArtifactFolder, "get", cut)
    with pytest.raises(TrackingError, match="the line was cut"):
        pull(Reference(name))
    assert not made.folder.exists()
    pull(Reference(name))
    assert len(asked) == 3 + 1 + len(files) - 1  # the manifest again, and all but the file that had come
    assert open_sealed(made.folder, verify=True)


def test_rollback_without_files_here_moves_the_alias_alone(make: Make, name: str) -> None:
    make()
    make(seed=1)
    folder = models_folder(name, "image")
    shutil.rmtree(folder)
    back = rollback(name)
    assert back.version == "1" and not folder.exists()
    assert pull(Reference(name)).folder == pointed(folder) == folder / "1"


def test_rollback_fetches_what_the_pointer_will_name(make: Make, name: str) -> None:
    first = make()
    make(seed=1)
    shutil.rmtree(first.folder)
    assert rollback(name).folder == first.folder == pointed(first.folder.parent)
    assert open_sealed(first.folder, verify=True)


def test_what_another_registry_numbered_alike_is_not_taken_for_it_and_not_lost(make: Make, name: str) -> None:
    made = make()
    manifest = made.folder / "manifest.json"
    theirs = json.loads(manifest.read_text(encoding="utf-8"))
    theirs["parents"]["mlflow.run_id"] = "another"
    manifest.write_text(json.dumps(theirs), encoding="utf-8")
    said: list[str] = []
    pulled = pull(Reference(name), said.append)
    assert pulled.changed and any("version of another registry" in line for line in said)
    (aside,) = made.folder.parent.glob("1-*")
    assert json.loads((aside / "manifest.json").read_text(encoding="utf-8")) == theirs
    (version,) = tracking.versions(name)
    assert registry.is_sound(version, made.folder) and not registry.is_whole(version, aside)

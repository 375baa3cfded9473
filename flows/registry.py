"""A promoted folder in the registry, whole, so that another machine gets it by a version's number or an alias.

What is a version's own (card, figures, calibration, the parts that its product names in REGISTERED, the recipe) lies
with the version's run, under `model/`. What versions share (the base, a judge, ControlNets) lies once, by digest, in
`objects/`. The manifest lists every file's digest, and a tag of the version holds the manifest's: nothing that arrives
altered or cut short becomes a folder.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from components import tracking
from components.artifact import MANIFEST, is_complete, open_sealed, replacing, sha256, write_json
from components.contracts import RunLog
from components.errors import ArtifactError, EnvironmentProblem, KyaraError, TrackingError
from components.modalities import parse_recipe, product
from components.recipe import Recipe
from components.settings import settings
from components.tracking import ArtifactFolder, ModelVersion

OWN, OBJECTS, RECIPE = "model", "objects", "recipe.json"
ATTEMPTS = 3
SPARE = 256 * 2**20
"""Bytes that a download leaves free."""
_NAME = re.compile(r"[\w][\w.+@ -]*(/[\w][\w.+@ -]*)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Files = Mapping[str, Mapping[str, Any]]


def is_pushed(version: ModelVersion) -> bool:
    """Whether the registry holds the whole folder of a version."""
    return "manifest" in version.tags


def push(recipe: Recipe, version: ModelVersion, folder: Path, log: RunLog) -> ModelVersion:
    """Keep a sealed folder in the registry; what it holds already is not sent again. Interrupted, it may be repeated.

    Raises:
        TrackingError: the artifact store fails.
    """
    files: Files = open_sealed(folder).manifest["files"]
    shared = [name for name in files if _is_shared(name, product(recipe.modality).REGISTERED)]
    store, sent = tracking.shared_files(), 0
    for name in shared:
        sent += _put_once(store, folder / name, files[name])
    with tempfile.TemporaryDirectory() as temporary:
        own = Path(temporary) / OWN
        for name in (*files, MANIFEST):
            if name not in shared:
                link_or_copy(folder / name, own / name)
        write_json(own / RECIPE, recipe.model_dump(mode="json"))
        tracking.log_folder(version.run_id, own, OWN)
    log.message(f"the registry holds version {version.number}: {sent} of {len(shared)} shared files were new to it")
    places = {"objects": store.uri, "shared": json.dumps(sorted({_part(name) for name in shared}))}
    # Last: the tag says that everything is there.
    return tracking.tag_version(version, {**places, "modality": recipe.modality, "manifest": sha256(folder / MANIFEST)})


def _part(name: str) -> str:
    return name.partition("/")[0]


def _is_shared(name: str, own: Sequence[str]) -> bool:
    """Files right in the folder say what the version is; folders are shared unless the product names them its own."""
    return "/" in name and _part(name) not in own


def _put_once(store: ArtifactFolder, file: Path, entry: Mapping[str, Any]) -> bool:
    """Keep a file under its digest unless it is there in its size; whether it was sent."""
    digest = str(entry["sha256"])
    folder = f"{OBJECTS}/{digest[:2]}"
    if store.sizes(folder).get(digest) == entry["size"]:
        return False
    if store.local is not None:
        # One machine alone: a second name for the same bytes.
        (store.local / folder / digest).unlink(missing_ok=True)
        link_or_copy(file, store.local / folder / digest)
        return True
    with tempfile.TemporaryDirectory() as temporary:
        link_or_copy(file, Path(temporary) / digest)
        store.put(Path(temporary) / digest, folder)
    return True


def recipe_of(version: ModelVersion) -> Recipe:
    """The recipe that made a version, with every default spelled out. Raises TrackingError or RecipeError."""
    found = json.loads(tracking.read_artifact(version.run_id, f"{OWN}/{RECIPE}"))
    return parse_recipe(found, f"version {version.number} of {version.name!r}")


def is_whole(folder: Path) -> bool:
    """Whether a version's folder is sealed and all its files are there in their sizes."""
    try:
        return is_complete(open_sealed(folder))
    except (ArtifactError, KeyError, TypeError, AttributeError):
        return False


def fetch(version: ModelVersion, folder: Path, say: Callable[[str], None]) -> None:
    """A version's folder from the registry; it appears whole and verified, or not at all.

    Files that another version here shares are linked, not sent again. What was received before an interruption is kept.

    Raises:
        TrackingError: the registry does not hold it, does not answer, or sends other content than was sealed.
        EnvironmentProblem: the disk is full.
    """
    if not is_pushed(version):
        raise TrackingError(
            f"the registry holds no files of version {version.number} of {version.name!r}.",
            hint="It was registered by an older Kyara: run `kyara produce` again on the machine that made it.",
        )
    received = folder.parent / f".{folder.name}.pull"
    received.mkdir(parents=True, exist_ok=True)
    try:
        manifest = received / MANIFEST
        _download(tracking.run_files(version.run_id), f"{OWN}/{MANIFEST}", manifest, version.tags["manifest"])
        files = _listed(manifest)
        here = _files_here(settings().models_dir)
        missing = {name: entry for name, entry in files.items() if entry["sha256"] not in here}
        _require_space(received, missing)
        say(f"{len(missing)} of {len(files)} files of version {version.number} of {version.name!r} are not here yet")
        for name in missing:
            _receive(version, name, files[name], received)
        _assemble(files, here, received, folder)
        shutil.rmtree(received, ignore_errors=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"version {version.number} of {version.name!r} cannot be stored in {str(folder.parent)!r}: {error}.",
            hint="Is the disk full, or the folder read-only?",
        ) from error


def _listed(manifest: Path) -> Files:
    """The files of a manifest, whose names stay below its folder. Raises TrackingError."""
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        for name, entry in files.items():
            plain = _NAME.fullmatch(name) and ".." not in PurePosixPath(name).parts and name != MANIFEST
            if not (plain and _DIGEST.fullmatch(entry["sha256"]) and int(entry["size"]) >= 0):
                raise ValueError(f"{name!r}: {entry!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrackingError(f"the manifest in the registry is no manifest of ours: {error}.") from error
    found: Files = files
    return found


def _files_here(models: Path) -> Mapping[str, Path]:
    """Digest -> a file of a version that lies here."""
    found: dict[str, Path] = {}
    for manifest in sorted(models.glob(f"*/*/*/{MANIFEST}")):
        with contextlib.suppress(KyaraError, OSError, KeyError, TypeError, AttributeError):
            for name, entry in open_sealed(manifest.parent).manifest["files"].items():
                file = manifest.parent / name
                if file.is_file() and file.stat().st_size == entry["size"] and sha256(file) == entry["sha256"]:
                    found.setdefault(str(entry["sha256"]), file)
    return found


def _require_space(folder: Path, missing: Files) -> None:
    needed, free = sum(int(entry["size"]) for entry in missing.values()), shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise EnvironmentProblem(
            f"{needed / 2**20:.0f} MiB are to be stored in {str(folder)!r}, where {free / 2**20:.0f} MiB are free.",
            hint="Delete versions that are not needed, or set KYARA_MODELS to another disk.",
        )


def _receive(version: ModelVersion, name: str, entry: Mapping[str, Any], received: Path) -> None:
    """One file under its digest."""
    digest, target = str(entry["sha256"]), received / str(entry["sha256"])
    if target.is_file() and sha256(target) == digest:
        return
    if _part(name) in json.loads(version.tags["shared"]):
        _download(ArtifactFolder(version.tags["objects"]), f"{OBJECTS}/{digest[:2]}/{digest}", target, digest)
    else:
        _download(tracking.run_files(version.run_id), f"{OWN}/{name}", target, digest)


def _download(store: ArtifactFolder, name: str, target: Path, digest: str) -> None:
    """A file, again where it arrives altered. Raises TrackingError."""
    for _ in range(ATTEMPTS):
        store.get(name, target)
        if sha256(target) == digest:
            return
        target.unlink()
    raise TrackingError(
        f"file {name!r} of {store.uri!r} is not what was registered: its digest was {ATTEMPTS} times another.",
        hint="It was altered or cut short in the artifact store; nothing here has changed.",
    )


def _assemble(files: Files, here: Mapping[str, Path], received: Path, folder: Path) -> None:
    with replacing(folder) as temporary:
        for name, entry in files.items():
            link_or_copy(here.get(str(entry["sha256"]), received / str(entry["sha256"])), temporary / name)
        shutil.copyfile(received / MANIFEST, temporary / MANIFEST)


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under another name; sealed files never change, so one copy on the disk is enough."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

"""Run one stage. Prefect, `dvc repro` and tests all enter here; what is sealed and current is skipped.

A stage's output depends on its configuration, its inputs and its code; the fingerprint is a digest of the three. What
was made under another fingerprint is set aside below `.previous/`, with a line that says what changed, and comes back
when the fingerprint does. Versions of the libraries are recorded, and a change of them is said, not acted upon.
"""

import errno
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from components.artifact import MANIFEST, PENDING, Artifact, digest_of, is_complete, open_sealed, seal, write_json
from components.contracts import RunLog
from components.errors import ArtifactError, EnvironmentProblem
from components.imports import import_closure, source_digest
from components.modalities import modality, stage_function, stage_names
from components.recipe import Recipe, StepConfig
from components.settings import settings

ASIDE = ".previous"
LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate", "numpy", "pillow")


@dataclass(frozen=True)
class StageResult:
    """A sealed stage output; `skipped` when it was current already."""

    artifact: Artifact
    skipped: bool
    seconds: float


@dataclass(frozen=True)
class Origin:
    """What an output depends on: digests of its configuration, of each input by name, and of its code."""

    config: str
    parents: Mapping[str, str]
    code: str

    @property
    def fingerprint(self) -> str:
        """One digest of all."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {"config": self.config, "parents": dict(self.parents), "code": self.code}

    def difference(self, other: Mapping[str, Any]) -> str:
        """What has changed since `other`, in words."""
        before: Mapping[str, str] = other.get("parents") or {}
        inputs = [name for name in sorted({*before, *self.parents}) if before.get(name) != self.parents.get(name)]
        changed = ["its configuration"] if other.get("config") != self.config else []
        changed += [f"its input {name!r}" for name in inputs]
        changed += ["its code"] if other.get("code") != self.code else []
        return ", ".join(changed) or "something unknown"


def stage_folder(recipe: Recipe, stage: str) -> Path:
    """Where a stage's output lies."""
    return settings().artifacts / recipe.name / stage


def stage_outputs(recipe: Recipe) -> dict[str, Path]:
    """Output folders of all stages that the recipe has."""
    return {stage: stage_folder(recipe, stage) for stage in stage_names(recipe)}


def run_stage(recipe: Recipe, stage: str, log: RunLog) -> StageResult:
    """Run `stage` unless its sealed output is current; resume it when it was interrupted with the same configuration.

    Raises:
        ArtifactError: an earlier stage has not been run.
        EnvironmentProblem: the disk is full.
        KyaraError: whatever the stage itself refuses.
    """
    started = time.perf_counter()
    config = recipe.step(stage)
    inputs = _inputs(recipe, stage, config)
    origin = _origin(recipe, stage, config, inputs)
    out = stage_folder(recipe, stage)
    current = _current(out, origin.fingerprint)
    if current is not None:
        log.message("is current, nothing to do")
        _tell_versions(current, log)
        return StageResult(current, True, time.perf_counter() - started)
    _make_room(out, origin, log)
    recalled = _current(out, origin.fingerprint)
    if recalled is not None:
        return StageResult(recalled, True, time.perf_counter() - started)
    try:
        stage_function(recipe, stage)(config, inputs, out, log)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise EnvironmentProblem(
                f"the disk that holds {str(out)!r} is full.", hint="Free some space and run again: the stage resumes."
            ) from error
        raise
    seconds = time.perf_counter() - started
    facts = {"recipe": recipe.name, "stage": stage, "seconds": round(seconds, 3)}
    meta = {**facts, "origin": origin.as_json(), "versions": library_versions()}
    artifact = seal(out, origin.fingerprint, origin.parents, meta)
    return StageResult(artifact, False, seconds)


def library_versions() -> dict[str, str]:
    """Versions of what computes, where it is installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _tell_versions(artifact: Artifact, log: RunLog) -> None:
    """A newer library may give other bits; what was made stays, and the user is told."""
    before: Mapping[str, str] = artifact.manifest["meta"].get("versions", {})
    now = library_versions()
    changed = [
        f"{name} {before[name]} (now {now[name]})" for name in before if name in now and before[name] != now[name]
    ]
    if changed:
        log.message(f"was made with {', '.join(changed)}; delete {artifact.path} to make it again")


def _origin(recipe: Recipe, stage: str, config: StepConfig, inputs: Mapping[str, Path]) -> Origin:
    parents = {name: digest_of(path) for name, path in inputs.items()}
    modules = [modality(recipe.modality).stages[stage], *config.plugins()]
    versions = [code_version(text.partition(":")[0]) for text in modules]
    return Origin(config.digest(), parents, hashlib.sha256("".join(versions).encode()).hexdigest())


def _inputs(recipe: Recipe, stage: str, config: StepConfig) -> dict[str, Path]:
    """Outputs of all earlier stages, and what the step reads from outside."""
    order = stage_names(recipe)
    earlier = {name: stage_folder(recipe, name) for name in order[: order.index(stage)]}
    for name, folder in earlier.items():
        if not _sealed(folder):
            raise ArtifactError(
                f"stage {stage!r} needs {name!r}, which has no sealed output.",
                hint=f"Run `kyara stage RECIPE {name}` first.",
            )
    return {**{name: settings().resolve(path) for name, path in config.sources().items()}, **earlier}


def _sealed(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _current(out: Path, fingerprint: str) -> Artifact | None:
    if not _sealed(out):
        return None
    try:
        artifact = open_sealed(out)
    except ArtifactError:
        return None
    return artifact if artifact.fingerprint == fingerprint and is_complete(artifact) else None


def _make_room(out: Path, origin: Origin, log: RunLog) -> None:
    """Keep an interrupted run of the same origin; set anything else aside, and take up what was set aside earlier."""
    fingerprint = origin.fingerprint
    before = _made_from(out)
    if out.is_dir() and not _sealed(out) and before.get("fingerprint") == fingerprint:
        log.message("was interrupted; resuming")
    elif out.is_dir() and any(out.iterdir()):
        aside = _set_aside(out, str(before.get("fingerprint", "unknown")))
        log.message(f"{origin.difference(before)} changed; the work so far is kept in {aside}")
    kept = _place_aside(out, fingerprint)
    usable = kept.is_dir() and (not _sealed(kept) or _current(kept, fingerprint) is not None)
    if usable and not (out.is_dir() and any(out.iterdir())):
        if out.is_dir():
            out.rmdir()
        kept.rename(out)
        log.message("takes up again what was set aside earlier")
    out.mkdir(parents=True, exist_ok=True)
    if not _sealed(out):
        write_json(out / PENDING, {"fingerprint": fingerprint, **origin.as_json()})


def _place_aside(out: Path, fingerprint: str) -> Path:
    return out.parent / ASIDE / f"{out.name}-{fingerprint[:12]}"


def _set_aside(out: Path, fingerprint: str) -> Path:
    """Move a folder below `.previous/`; nothing that lies there is overwritten."""
    wanted = aside = _place_aside(out, fingerprint)
    number = 1
    while aside.exists():
        number += 1
        aside = wanted.with_name(f"{wanted.name}-{number}")
    aside.parent.mkdir(exist_ok=True)
    out.rename(aside)
    return aside


def _made_from(out: Path) -> Mapping[str, Any]:
    """Fingerprint and origin of what lies in `out`, sealed or not; empty where nothing readable tells."""
    try:
        if _sealed(out):
            sealed = open_sealed(out)
            return {"fingerprint": sealed.fingerprint, **sealed.manifest["meta"].get("origin", {})}
        found: dict[str, Any] = json.loads((out / PENDING).read_text(encoding="utf-8"))
    except (ArtifactError, OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


# Rooms whose code cannot change what a stage computes: they say where it runs, how it fails and what it tells.
_NEUTRAL = (
    "components.contracts",
    "components.errors",
    "components.plugins",
    "components.recipe",
    "components.runlog",
    "components.settings",
    "components.tracking",
)


@cache
def code_version(module: str) -> str:
    """Digest of the code of `module` and of all of ours that it imports; comments and docstrings leave it as it is."""
    return source_digest(import_closure(module, without=_NEUTRAL))

"""Run one stage. Prefect, `dvc repro` and tests all enter here; what is sealed and current is skipped."""

import ast
import errno
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from components.artifact import PENDING, Artifact, digest_of, is_complete, open_sealed, seal, write_json
from components.contracts import RunLog
from components.errors import ArtifactError, EnvironmentProblem
from components.modalities import modality, resolve
from components.recipe import ImageRecipe, StepConfig
from components.settings import settings


@dataclass(frozen=True)
class StageResult:
    """A sealed stage output; `skipped` when it was current already."""

    artifact: Artifact
    skipped: bool
    seconds: float


def stage_names(recipe: ImageRecipe) -> tuple[str, ...]:
    """Stages of the recipe's modality, in order."""
    return tuple(modality(recipe.modality).stages)


def stage_folder(recipe: ImageRecipe, stage: str) -> Path:
    """Where a stage's output lies."""
    return settings().artifacts / recipe.name / stage


def run_stage(recipe: ImageRecipe, stage: str, log: RunLog) -> StageResult:
    """Run `stage` unless its sealed output is current; resume it when it was interrupted with the same configuration.

    Raises:
        ArtifactError: an earlier stage has not been run.
        EnvironmentProblem: the disk is full.
        KyaraError: whatever the stage itself refuses.
    """
    started = time.perf_counter()
    config = recipe.step(stage)
    inputs = _inputs(recipe, stage, config)
    parents = {
        name: digest_of(path) if not _sealed(path) else open_sealed(path).digest for name, path in inputs.items()
    }
    dotted = modality(recipe.modality).stages[stage]
    fingerprint = _fingerprint(config, parents, code_version(dotted.partition(":")[0]))
    out = stage_folder(recipe, stage)
    current = _current(out, fingerprint)
    if current is not None:
        log.message("is current, nothing to do")
        return StageResult(current, True, time.perf_counter() - started)
    _make_room(out, fingerprint, log)
    try:
        resolve(dotted)(config, inputs, out, log)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise EnvironmentProblem(
                f"the disk that holds {str(out)!r} is full.", hint="Free some space and run again: the stage resumes."
            ) from error
        raise
    seconds = time.perf_counter() - started
    artifact = seal(out, fingerprint, parents, {"recipe": recipe.name, "stage": stage, "seconds": round(seconds, 3)})
    return StageResult(artifact, False, seconds)


def _inputs(recipe: ImageRecipe, stage: str, config: StepConfig) -> dict[str, Path]:
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
    return (folder / "manifest.json").is_file()


def _current(out: Path, fingerprint: str) -> Artifact | None:
    if not _sealed(out):
        return None
    try:
        artifact = open_sealed(out)
    except ArtifactError:
        return None
    return artifact if artifact.fingerprint == fingerprint and is_complete(artifact) else None


def _make_room(out: Path, fingerprint: str, log: RunLog) -> None:
    """Keep an interrupted run of the same configuration; set a finished one aside; clear anything else."""
    pending = out / PENDING
    if _pending(pending) == fingerprint:
        log.message("was interrupted; resuming")
    elif _sealed(out):
        aside = out.parent / ".previous" / out.name
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(exist_ok=True)
        out.rename(aside)
        log.message(f"depends on something that changed; the output so far is kept in {aside}")
    elif out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(pending, {"fingerprint": fingerprint})


def _pending(path: Path) -> str | None:
    """Fingerprint of the interrupted run; None where there is none, or nothing readable."""
    try:
        found: str | None = json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def _fingerprint(config: StepConfig, parents: Mapping[str, str], code: str) -> str:
    text = json.dumps({"config": config.digest(), "parents": dict(parents), "code": code}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


# Rooms whose code cannot change what a stage computes: they say where it runs, how it fails and what it tells.
_NEUTRAL = {
    "components.settings",
    "components.errors",
    "components.contracts",
    "components.runlog",
    "components.tracking",
    "components.recipe",
}


@cache
def code_version(module: str) -> str:
    """Digest of the source of `module` and of every module of components that it imports, directly or not."""
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name in _NEUTRAL:
            continue
        file = _source(name)
        if file is None:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        seen[name] = ast.dump(tree)
        waiting += [found for node in ast.walk(tree) for found in _imports(node)]
    text = "".join(f"{name}\0{source}\n" for name, source in sorted(seen.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _imports(node: ast.AST) -> list[str]:
    """Names of components' modules that one import statement may load."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        names = []
    return [name for name in names if name.startswith("components") and _source(name) is not None]


def _source(module: str) -> Path | None:
    """A module's file; our own by path: `find_spec` imports the parents of what it looks for, and torch with them."""
    if module.startswith("components"):
        path = Path(__file__).parent.parent.joinpath(*module.split("."))
        return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)
    spec = find_spec(module)
    return Path(spec.origin) if spec is not None and spec.origin is not None else None

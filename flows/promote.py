"""From a measured model to the registry's champion, and back.

A version's files live in models/<modality>/<recipe>/<version>/ and its figures in MLflow. Whatever the gate says, the version is
registered and kept; only an accepted one gets the alias and the pointer file that the service watches.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import artifact, tracking
from components.contracts import RunLog
from components.errors import GateRefused, KyaraError, TrackingError
from components.recipe import ImageRecipe
from components.runner import stage_folder, stage_names
from components.settings import settings
from components.tracking import ModelVersion

PENDING, ACCEPTED, REFUSED, WITHDRAWN = "pending", "accepted", "refused", "withdrawn"
FIGURES = "metrics.json"

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Promotion:
    """The champion after a promotion or rollback; `changed` is False where it had been the champion before."""

    version: str
    folder: Path
    changed: bool


def models_folder(recipe: str, modality: str = "image") -> Path:
    """Where a recipe's versions and their `champion` pointer lie."""
    return settings().models_dir / modality / recipe


def promote(recipe: ImageRecipe, mlflow_run: str, run_id: str, log: RunLog) -> Promotion:
    """Register what the stages made, ask the gate, and make it the champion.

    Args:
        mlflow_run: the product's parent run, which holds the figures.
        run_id: Kyara's own id of the run.

    Raises:
        GateRefused: some figures are not good enough; the version is kept and marked.
        TrackingError: the registry does not answer.
    """
    digest = product_digest(recipe)
    folder = models_folder(recipe.name, recipe.modality)
    champion = tracking.champion(recipe.name)
    if champion is not None and champion.tags.get("digest") == digest and _is_pointed(folder, champion.number):
        log.message(f"version {champion.number} is the champion already")
        return Promotion(champion.number, folder / champion.number, False)
    version = _registered(recipe, digest, mlflow_run, run_id, log)
    if champion is not None and version.tags["state"] == WITHDRAWN:
        log.warn(f"version {version.number} was rolled back and is not promoted again; the champion stays {champion.number}")
        return Promotion(champion.number, folder / champion.number, False)
    failures = _ask_gate(recipe, version, champion, log)
    if failures:
        tracking.tag_version(version, {"state": REFUSED, "failures": "\n".join(failures)})
        raise GateRefused(f"version {version.number} of {recipe.name!r} is kept but not promoted:", failures)
    tracking.tag_version(version, {"state": ACCEPTED})
    _crown(folder, version)
    log.message(f"version {version.number} is the champion")
    return Promotion(version.number, folder / version.number, True)


def rollback(recipe: str, to: str | None = None, modality: str = "image") -> Promotion:
    """Make an earlier version the champion again; the one that leaves is withdrawn.

    Args:
        to: a version that was accepted once; default: the newest accepted one before the champion.

    Raises:
        TrackingError: there is no champion, or no such version.
    """
    champion = tracking.champion(recipe)
    if champion is None:
        raise TrackingError(f"recipe {recipe!r} has no champion.", hint=f"Make one: `kyara produce {recipe}`.")
    folder = models_folder(recipe, modality)
    usable = {each.number: each for each in tracking.versions(recipe) if _was_accepted(each) and _sealed(folder / each.number)}
    before = [number for number, each in usable.items() if int(number) < int(champion.number) and each.tags["state"] == ACCEPTED]
    chosen = to or (before[-1] if before else None)
    if chosen not in usable or chosen == champion.number:
        wanted = f"version {to} of {recipe!r} cannot be returned to" if to else f"no accepted version of {recipe!r} before {champion.number} is left"
        others = ", ".join(number for number in usable if number != champion.number) or "none"
        raise TrackingError(f"{wanted}.", hint=f"Versions that can be named with --to: {others}.")
    tracking.tag_version(champion, {"state": WITHDRAWN})
    tracking.tag_version(usable[chosen], {"state": ACCEPTED})
    _crown(folder, usable[chosen])
    return Promotion(chosen, folder / chosen, True)


def _was_accepted(version: ModelVersion) -> bool:
    return version.tags.get("state") in (ACCEPTED, WITHDRAWN)


def _sealed(folder: Path) -> bool:
    return (folder / artifact.MANIFEST).is_file()


def product_digest(recipe: ImageRecipe) -> str:
    """Digest of what all stages of a recipe made. Raises ArtifactError where one has not been run."""
    digests = {stage: artifact.open_sealed(stage_folder(recipe, stage)).digest for stage in stage_names(recipe)}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _crown(folder: Path, version: ModelVersion) -> None:
    """The pointer first: the service follows it, and a registry that fails afterwards is mended by the next run."""
    artifact.point(folder, version.number)
    tracking.crown(version)


def _is_pointed(folder: Path, version: str) -> bool:
    try:
        return artifact.pointed(folder).name == version and artifact.is_complete(artifact.open_sealed(folder / version))
    except KyaraError:
        return False


def _registered(recipe: ImageRecipe, digest: str, mlflow_run: str, run_id: str, log: RunLog) -> ModelVersion:
    """The version of this product: the one that an earlier, refused or interrupted run registered, or a new one."""
    from components.generation.model import LCM, LORA, assemble

    train, distill = stage_folder(recipe, "train"), stage_folder(recipe, "distill")
    known = [each for each in tracking.versions(recipe.name) if each.tags.get("digest") == digest]
    if known:
        version = known[-1]
    else:
        tracking.log_folder(mlflow_run, train / LORA, f"model/{LORA}")
        version = tracking.register(recipe.name, mlflow_run, {"digest": digest, "state": PENDING, "kyara.run_id": run_id})
    out = models_folder(recipe.name, recipe.modality) / version.number
    if not _sealed(out):
        parents = {"evaluate": artifact.open_sealed(stage_folder(recipe, "evaluate")).digest, "mlflow.run_id": version.run_id}
        data = tracking.data_digest()
        assemble(recipe, train, distill, out, version=version.number, parents={**parents, **({"dvc": data} if data else {})})
        log.message(f"version {version.number} lies in {out}")
    return tracking.tag_version(version, {"folder": str(out)})


def _ask_gate(recipe: ImageRecipe, version: ModelVersion, champion: ModelVersion | None, log: RunLog) -> tuple[str, ...]:
    return ()


def _figures(version: ModelVersion) -> Figures:
    """What was measured when the version was made."""
    found: Figures = json.loads(tracking.read_artifact(version.run_id, FIGURES))
    return found

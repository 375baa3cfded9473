"""From a measured model to the registry's champion, and back.

A version's files live in models/<modality>/<recipe>/<version>/ and in the registry, its metrics in MLflow. Whatever
the gate says, the version is registered and kept; only an accepted one gets the alias and the pointer file that the
service watches. Other machines follow the alias (flows.pull).
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import artifact, tracking
from components.contracts import METRICS, RunLog
from components.errors import GateRefused, KyaraError, TrackingError
from components.gate import decide
from components.modalities import measuring_stage, product, serves, stage_function
from components.recipe import Recipe
from components.runner import stage_folder, stage_outputs
from components.settings import settings
from components.tracking import ModelVersion
from flows.registry import fetch, is_pushed, is_whole, push

logger = logging.getLogger("kyara")

PENDING, ACCEPTED, REFUSED, WITHDRAWN = "pending", "accepted", "refused", "withdrawn"

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Promotion:
    """The champion after a promotion or rollback; `changed` is False where it had been the champion before.

    Of a modality that serves nobody, the version that was registered.
    """

    champion: ModelVersion
    folder: Path
    changed: bool

    @property
    def version(self) -> str:
        """Its number in the registry."""
        return self.champion.number

    @property
    def labels(self) -> dict[str, str | None]:
        """Where it came from, for what is built from it."""
        tags = self.champion.tags
        return {
            "mlflow_run_id": self.champion.run_id,
            "mlflow_version": self.version,
            "prefect_flow_run_id": tags.get("prefect.flow_run_id"),
            "dvc_digest": tags.get("dvc.digest"),
        }


def models_folder(recipe: str, modality: str) -> Path:
    """Where a recipe's versions and their `champion` pointer lie."""
    return settings().models_dir / modality / recipe


def modality_of(recipe: str) -> str:
    """The modality under which a recipe's versions lie. Raises TrackingError where there are none."""
    found = sorted(folder.parent.name for folder in settings().models_dir.glob(f"*/{recipe}") if folder.is_dir())
    if not found:
        raise TrackingError(f"recipe {recipe!r} has no promoted version.", hint=f"Make one: `kyara produce {recipe}`.")
    return found[0]


def promote(recipe: Recipe, mlflow_run: str, origin: Mapping[str, str], log: RunLog) -> Promotion:
    """Register what the stages made, ask the gate, and make it the champion.

    Args:
        mlflow_run: the product's parent run, which holds the metrics.
        origin: tags of a new version that say where it came from.

    Raises:
        GateRefused: some metrics are not good enough; the version is kept and marked.
        TrackingError: the registry does not answer.
    """
    digest = product_digest(recipe)
    folder = models_folder(recipe.name, recipe.modality)
    champion = tracking.champion(recipe.name)
    if champion is not None and champion.tags.get("digest") == digest and _is_pointed(folder, champion.number):
        champion = _kept(recipe, champion, log)
        log.message(f"version {champion.number} is the champion already")
        return Promotion(champion, folder / champion.number, False)
    version = _registered(recipe, digest, mlflow_run, origin, log)
    if champion is not None and version.tags["state"] == WITHDRAWN:
        log.warn(
            f"version {version.number} was rolled back and is not promoted again; the champion stays {champion.number}"
        )
        return Promotion(champion, folder / champion.number, False)
    failures = _ask_gate(recipe, champion, log)
    if failures:
        tracking.tag_version(version, {"state": REFUSED, "failures": "\n".join(failures)})
        raise GateRefused(f"version {version.number} of {recipe.name!r} is kept but not promoted:", failures)
    if not serves(recipe):
        return _kept_ready(version, folder, log)
    tracking.tag_version(version, {"state": ACCEPTED})
    _crown(folder, version)
    log.message(f"version {version.number} is the champion")
    return Promotion(version, folder / version.number, True)


def _kept_ready(version: ModelVersion, folder: Path, log: RunLog) -> Promotion:
    """Accepted, and no champion: others use it from its folder."""
    changed = version.tags["state"] != ACCEPTED
    tracking.tag_version(version, {"state": ACCEPTED})
    artifact.make_ready(folder, version.number)
    log.message(f"version {version.number} is registered and ready to be used; it serves nobody by itself")
    return Promotion(version, folder / version.number, changed)


def rollback(recipe: str, to: str | None = None) -> Promotion:
    """Make an earlier version the champion again; the one that leaves is withdrawn.

    Args:
        to: a version that was accepted once; default: the newest accepted one before the champion.

    It works from any machine that reaches the registry. One that has no champion pointer gets no files.

    Raises:
        TrackingError: there is no champion, or no such version.
    """
    champion = tracking.champion(recipe)
    if champion is None:
        raise TrackingError(f"recipe {recipe!r} has no champion.", hint=f"Make one: `kyara produce {recipe}`.")
    folder = models_folder(recipe, champion.tags.get("modality") or modality_of(recipe))
    usable = {
        each.number: each
        for each in tracking.versions(recipe)
        if was_accepted(each) and (is_pushed(each) or is_whole(folder / each.number))
    }
    before = [
        number
        for number, each in usable.items()
        if int(number) < int(champion.number) and each.tags["state"] == ACCEPTED
    ]
    chosen = to or (before[-1] if before else None)
    if chosen not in usable or chosen == champion.number:
        wanted = (
            f"version {to} of {recipe!r} cannot be returned to"
            if to
            else f"no accepted version of {recipe!r} before {champion.number} is left"
        )
        others = ", ".join(number for number in usable if number != champion.number) or "none"
        raise TrackingError(f"{wanted}.", hint=f"Versions that can be named with --to: {others}.")
    if (folder / artifact.POINTER).is_file() and not is_whole(folder / chosen):
        fetch(usable[chosen], folder / chosen, logger.info)
    tracking.tag_version(champion, {"state": WITHDRAWN})
    tracking.tag_version(usable[chosen], {"state": ACCEPTED})
    _crown(folder, usable[chosen])
    return Promotion(usable[chosen], folder / chosen, True)


def was_accepted(version: ModelVersion) -> bool:
    """Whether the gate accepted it once, also where it was rolled back since."""
    return version.tags.get("state") in (ACCEPTED, WITHDRAWN)


def product_digest(recipe: Recipe) -> str:
    """Digest of what all stages of a recipe made. Raises ArtifactError where one has not been run."""
    digests = {stage: artifact.open_sealed(folder).digest for stage, folder in stage_outputs(recipe).items()}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _crown(folder: Path, version: ModelVersion) -> None:
    """The pointer first: the service follows it, and a registry that fails afterwards is mended by the next run.

    A machine without the files moves the alias alone; those that follow it have them or fetch them.
    """
    if is_whole(folder / version.number):
        artifact.point(folder, version.number)
    tracking.crown(version)


def _is_pointed(folder: Path, version: str) -> bool:
    try:
        return artifact.pointed(folder).name == version and is_whole(folder / version)
    except KyaraError:
        return False


def _registered(recipe: Recipe, digest: str, mlflow_run: str, origin: Mapping[str, str], log: RunLog) -> ModelVersion:
    """The version of this product: the one that an earlier, refused or interrupted run registered, or a new one."""
    data = tracking.data_digest()
    known = [each for each in tracking.versions(recipe.name) if each.tags.get("digest") == digest]
    tags = {**origin, "digest": digest, "state": PENDING, **({"dvc.digest": data} if data else {})}
    version = known[-1] if known else tracking.register(recipe.name, mlflow_run, tags)
    out = models_folder(recipe.name, recipe.modality) / version.number
    if not is_whole(out):
        if is_pushed(version):
            fetch(version, out, log.message)
        else:
            parents = {"mlflow.run_id": version.run_id, **({"dvc": data} if data else {})}
            made = product(recipe.modality)
            made.assemble(recipe, stage_outputs(recipe), out, version=version.number, parents=parents)
        log.message(f"version {version.number} lies in {out}")
    return _kept(recipe, tracking.tag_version(version, {"folder": str(out)}), log)


def _kept(recipe: Recipe, version: ModelVersion, log: RunLog) -> ModelVersion:
    """The version, whose folder the registry holds too."""
    folder = models_folder(recipe.name, recipe.modality) / version.number
    return version if is_pushed(version) else push(recipe, version, folder, log)


def _ask_gate(recipe: Recipe, champion: ModelVersion | None, log: RunLog) -> tuple[str, ...]:
    """What speaks against the model that the stages made; nothing: it may be promoted."""

    candidate: Metrics = json.loads(
        (stage_folder(recipe, measuring_stage(recipe)) / METRICS).read_text(encoding="utf-8")
    )
    history = [recorded_metrics(each) for each in tracking.versions(recipe.name) if was_accepted(each)]
    present = None if champion is None else recorded_metrics(champion)
    decision = decide(recipe.promote, candidate, present, history)
    if decision.needs_reevaluation and champion is not None:
        log.message(f"evaluating the champion, version {champion.number}, as the new model was")
        decision = decide(recipe.promote, candidate, _measured_again(recipe, champion, candidate, log), history)
    for note in decision.notes:
        log.message(note)
    unsettled = ("the champion cannot be compared with it",) if decision.needs_reevaluation else ()
    return (*decision.failures, *unsettled)


def recorded_metrics(version: ModelVersion) -> Metrics:
    """What was measured when the version was made; nothing where its run is gone."""
    try:
        found: Metrics = json.loads(tracking.read_artifact(version.run_id, METRICS))
    except TrackingError:
        return {}
    return found


def _measured_again(recipe: Recipe, champion: ModelVersion, candidate: Metrics, log: RunLog) -> Metrics:
    """The champion's metrics by the candidate's judge and prompts, from an earlier comparison where there was one."""
    out = settings().artifacts / recipe.name / f"champion-{champion.number}"
    return _kept_figures(out, candidate) or evaluate_champion(recipe, champion, out, log)


def evaluate_champion(recipe: Recipe, champion: ModelVersion, out: Path, log: RunLog) -> Metrics:
    """Measure a promoted folder as the last stage measured what the stages made. Raises KyaraError."""
    folder = models_folder(recipe.name, recipe.modality) / champion.number
    if not is_whole(folder):
        fetch(champion, folder, log.message)
    config, inputs = product(recipe.modality).measured_again(recipe, folder)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    outside = {name: settings().resolve(path) for name, path in config.sources().items()}
    stages = {name: path for name, path in stage_outputs(recipe).items() if name != measuring_stage(recipe)}
    stage_function(recipe, measuring_stage(recipe))(config, {**outside, **stages, **inputs}, out, log)
    found: Metrics = json.loads((out / METRICS).read_text(encoding="utf-8"))
    return found


def _kept_figures(folder: Path, candidate: Metrics) -> Metrics | None:
    """An earlier evaluation in `folder` by the same judge and prompts as the candidate's."""
    try:
        found: Metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if all(found.get(name) == candidate.get(name) for name in ("judge.digest", "prompts.digest")) else None

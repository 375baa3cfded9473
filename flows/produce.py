"""The pipeline: the stages in table order, then promote, then package.

Stages are Prefect tasks that are called directly. A task that is submitted runs in a thread, which neither Ctrl-C nor a
cancelled flow run can interrupt. What a stage has made survives an interrupt: the next run of the recipe resumes it.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from components import tracking
from components.contracts import METRICS
from components.errors import KyaraError
from components.modalities import serves, stage_names
from components.recipe import Recipe
from components.runner import run_stage
from components.settings import quiet_environment
from flows.heartbeat import beating, refuse_if_busy
from flows.log import StageLog
from flows.promote import Promotion, promote
from flows.runs import check_run_id, log_file, new_run_id, write_config, write_result
from flows.stage import open_recipe

RETRIES, RETRY_SECONDS = 2, 10


@dataclass
class Production:
    """What the steps of one run share, and what they add to it."""

    recipe: Recipe
    run_id: str
    flow_run_id: str
    mlflow_run_id: str
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, bool] = field(default_factory=dict)
    champion: Promotion | None = None
    bento_tag: str | None = None

    def result(self) -> dict[str, Any]:
        """As flat keys of report.json."""
        return {
            "run_id": self.run_id,
            "recipe": self.recipe.name,
            "prefect.flow_run_id": self.flow_run_id,
            "mlflow.run_id": self.mlflow_run_id,
            "mlflow.model_version": None if self.champion is None else self.champion.version,
            "bento.tag": self.bento_tag,
            "dvc.digest": tracking.data_digest(),
            "model": None if self.champion is None else str(self.champion.folder),
            "skipped": dict(self.skipped),
            **{f"seconds.{name}": round(value, 3) for name, value in self.seconds.items()},
        }


Step = Callable[[Production, StageLog], bool]


def _retryable(_task: Any, _run: Any, state: Any) -> bool:
    """Whether the same call may succeed with nothing changed: only what says so itself."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, KyaraError) and error.retryable


def _run(name: str, step: Step, production: Production) -> None:
    """One step as a Prefect task. It closes over its arguments: Prefect would search them for futures."""

    @task(  # type: ignore[untyped-decorator]
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=RETRIES,
        retry_delay_seconds=RETRY_SECONDS,
        retry_condition_fn=_retryable,
    )
    def tracked() -> Any:
        if _track(name, step, production):
            return Completed(name="Skipped", message="Its sealed output is current.")
        return Completed()

    tracked()


def _track(name: str, step: Step, production: Production) -> bool:
    """One step with its own MLflow run. True when there was nothing to do."""
    recipe = production.recipe
    run = tracking.start_run(recipe.name, name, _tags(production, name), parent=production.mlflow_run_id)
    with tracking.closing(run), StageLog(production.run_id, name, log_file(production.run_id), run) as log:
        log.params(_section(recipe, name))
        started = time.perf_counter()
        skipped = step(production, log)
        production.seconds[name] = time.perf_counter() - started
        production.skipped[name] = skipped
        tracking.tag_run(run, {"kyara.skipped": str(skipped).lower()})
    return skipped


def _compute(stage: str, production: Production, log: StageLog) -> bool:
    """A stage of components, through the runner. True when its output was current."""
    result = run_stage(production.recipe, stage, log)
    log.params({"output.digest": result.artifact.digest})
    metrics = result.artifact.path / METRICS
    if metrics.is_file():
        _headline(production.mlflow_run_id, metrics)
    return result.skipped


def _promote(production: Production, log: StageLog) -> bool:
    origin = {"prefect.flow_run_id": production.flow_run_id, "kyara.run_id": production.run_id}
    production.champion = promote(production.recipe, production.mlflow_run_id, origin, log)
    return not production.champion.changed


def _package(production: Production, log: StageLog) -> bool:
    from flows.package import build, exists, tag_of

    champion = production.champion
    assert champion is not None, "promote runs before package"
    current = exists(tag_of(production.recipe, champion.folder))
    if not current:
        log.message("building the Bento")
    production.bento_tag = build(production.recipe, champion.folder, champion.labels)
    log.message(f"{production.bento_tag} is current" if current else f"built {production.bento_tag}")
    return current


def _steps(recipe: Recipe) -> Iterator[tuple[str, Step]]:
    for stage in stage_names(recipe):
        yield stage, partial(_compute, stage)
    yield "promote", _promote
    if serves(recipe):
        yield "package", _package


def _tags(production: Production, stage: str) -> dict[str, str | None]:
    return {
        "kyara.run_id": production.run_id,
        "kyara.stage": stage,
        "kyara.recipe": production.recipe.name,
        "prefect.flow_run_id": production.flow_run_id,
        "dvc.digest": tracking.data_digest(),
    }


def _section(recipe: Recipe, name: str) -> dict[str, Any]:
    """What the recipe says of one step."""
    found: dict[str, Any] = getattr(recipe, name).model_dump(mode="json")
    return found


def _flow_run_name() -> str:
    """Also for runs that a schedule or the pages start: the id follows from when it was due and who it is."""
    given = runtime.flow_run.parameters.get("run_id")
    return given or new_run_id(runtime.flow_run.scheduled_start_time.astimezone(), str(runtime.flow_run.id)[:4])


@flow(name="produce", flow_run_name=_flow_run_name)  # type: ignore[untyped-decorator]
def produce(
    recipe: str | dict[str, Any], overrides: dict[str, Any] | None = None, run_id: str | None = None
) -> dict[str, Any]:
    """Run a recipe from its pictures to a packaged champion; what is sealed and current is skipped.

    Args:
        recipe: a YAML file, the name of one in flows/recipes, or what such a file says.
        overrides: nested values that win over the file.
        run_id: default: made from the flow run.

    Returns:
        ids and seconds by flat dotted keys (see Production.result).

    Raises:
        KyaraError: a stage refused its input, or the gate refused the model.
    """
    started = time.perf_counter()
    quiet_environment()
    resolved = open_recipe(recipe, overrides)
    name = check_run_id(run_id or runtime.flow_run.name)
    refuse_if_busy(resolved.name)
    flow_run = str(runtime.flow_run.id)
    config = write_config(name, resolved)
    parent = _start_parent(resolved, name, flow_run, config)
    facts = {"recipe": resolved.name, "flow_run_id": flow_run, "mlflow_run_id": parent}
    with beating(name, facts), tracking.closing(parent):
        production = Production(resolved, name, flow_run, parent)
        for step_name, step in _steps(resolved):
            _run(step_name, step, production)
        _finish(production, time.perf_counter() - started)
    write_result(name, production.result())
    return production.result()


def _start_parent(recipe: Recipe, run_id: str, flow_run: str, config: Path) -> str:
    """The product's MLflow run, with everything that a comparison of two products may ask for."""
    digest = tracking.data_digest()
    tags = {"kyara.run_id": run_id, "kyara.recipe": recipe.name, "prefect.flow_run_id": flow_run, "dvc.digest": digest}
    parent = tracking.start_run(
        recipe.name, run_id, {**tags, "kyara.stage": "produce", "mlflow.note.content": recipe.description}
    )
    with tracking.MlflowLog(parent) as log:
        log.params({**recipe.model_dump(mode="json", exclude={"name", "description"}), "data.digest": digest})
        log.file(config)
    if digest is not None:
        tracking.log_input(parent, "data", digest, "data.dvc")
    return parent


def _headline(run: str, file: Path) -> None:
    """A stage's metrics onto the product's own run, so that the comparison page shows products side by side."""
    metrics = json.loads(file.read_text(encoding="utf-8"))
    with tracking.MlflowLog(run) as log:
        log.metrics({key: float(value) for key, value in metrics.items() if isinstance(value, int | float)})
        log.params({key: value for key, value in metrics.items() if isinstance(value, str)})
        log.file(file)


def _finish(production: Production, pipeline: float) -> None:
    production.seconds |= {"pipeline": pipeline, "orchestration": pipeline - sum(production.seconds.values())}
    with tracking.MlflowLog(production.mlflow_run_id) as log:
        log.metrics({f"seconds.{name}": value for name, value in production.seconds.items()})
    facts = production.result()
    tracking.tag_run(production.mlflow_run_id, {key: facts[key] for key in ("mlflow.model_version", "bento.tag")})

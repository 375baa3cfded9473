"""The champion measured again, on a schedule: does this machine still get what the registry promises?"""

from typing import Any

from prefect import flow, runtime

from components import tracking
from components.contracts import METRICS
from components.errors import GateRefused, TrackingError
from components.settings import quiet_environment, settings
from flows.log import StageLog
from flows.promote import evaluate_champion, recorded_metrics
from flows.runs import log_file, new_run_id
from flows.stage import open_recipe


@flow(name="benchmark")  # type: ignore[untyped-decorator]
def benchmark(recipe: str) -> dict[str, Any]:
    """Evaluate a recipe's champion and hold the metrics against those of its promotion.

    Raises:
        TrackingError: the recipe has no champion.
        GateRefused: metrics fell below what the recipe's gate allows; the champion stays.
    """
    from components.gate import decide

    quiet_environment()
    resolved = open_recipe(recipe)
    champion = tracking.champion(resolved.name)
    if champion is None:
        raise TrackingError(
            f"recipe {resolved.name!r} has no champion to measure.", hint=f"Run `kyara produce {recipe}`."
        )
    run_id = new_run_id()
    flow_run = str(runtime.flow_run.id)
    tags = {
        "kyara.run_id": run_id,
        "kyara.stage": "benchmark",
        "prefect.flow_run_id": flow_run,
        "kyara.model_version": champion.number,
    }
    run = tracking.start_run(resolved.name, f"benchmark-{run_id}", {**tags, "mlflow.model_version": champion.number})
    out = settings().artifacts / resolved.name / "benchmark"
    with tracking.closing(run), StageLog(run_id, "benchmark", log_file(run_id), run) as log:
        metrics = evaluate_champion(resolved, champion, out, log)
        log.metrics({key: float(value) for key, value in metrics.items() if isinstance(value, int | float)})
        log.file(out / METRICS)
        decision = decide(resolved.promote, metrics, recorded_metrics(champion))
        if decision.failures:
            raise GateRefused(
                f"version {champion.number} of {resolved.name!r} no longer measures as it did:", decision.failures
            )
    return dict(metrics)

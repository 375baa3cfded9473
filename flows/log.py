"""A RunLog that shows a stage's progress in Prefect, and the set of logs that a stage of a flow talks to."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from components.runlog import ConsoleLog, FileLog, SilentLog, Tee, logger
from components.tracking import MlflowLog

EVERY_SECONDS = 2.0


class ArtifactLog(SilentLog):
    """One Prefect progress artifact, described in JSON: stage, unit, done, total, rate (units/s), left_s, loss, lr, ….

    Other processes (the factory pages) read it with `client.read_artifacts`. At most one call every two seconds.
    """

    def __init__(self, run_id: str, stage: str) -> None:
        self.key = f"{run_id}-{stage}".replace("_", "-")
        self.stage = stage
        self._artifact: Any = None
        self._told = -EVERY_SECONDS
        self._waiting: tuple[float, dict[str, Any]] | None = None
        self._start = (0.0, 0)
        self._unit = ""

    def progress(self, done: int, total: int, *, unit: str = "step", **fields: float) -> None:
        now = time.monotonic()
        began, first = self._start
        if unit != self._unit or done < first:
            self._unit, self._start = unit, (now, done)
            began, first = self._start
        rate = (done - first) / (now - began) if now > began else 0.0
        left = (total - done) / rate if rate > 0 else None
        self._waiting = (
            100 * done / max(total, 1),
            {"unit": unit, "done": done, "total": total, "rate": rate, "left_s": left, **fields},
        )
        if now - self._told >= EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Tell the latest position where it has not been told yet."""
        if self._waiting is not None:
            self._told = time.monotonic()
            percent, facts = self._waiting
            self._waiting = None
            self._tell(percent, facts)

    def _tell(self, percent: float, facts: dict[str, Any]) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        description = json.dumps({"stage": self.stage, **facts})
        try:
            if self._artifact is None:
                self._artifact = create_progress_artifact(percent, key=self.key, description=description)
            else:
                update_progress_artifact(self._artifact, percent, description=description)
        except Exception as error:
            # A server that hiccups must not cost hours of training; the next call tries again.
            logger.warning("progress not shown in Prefect: %r", error)


class StageLog(Tee):
    """Console, log file, MLflow and Prefect at once. A context manager: leaving it closes the bar and flushes."""

    def __init__(self, run_id: str, stage: str, file: Path, mlflow_run: str) -> None:
        self.console = ConsoleLog(stage)
        self.tracked = MlflowLog(mlflow_run)
        self.artifact = ArtifactLog(run_id, stage)
        super().__init__(self.console, FileLog(file, stage), self.tracked, self.artifact)

    def __enter__(self) -> "StageLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.console.__exit__(kind, error, trace)
        self.tracked.flush()
        if kind is None or issubclass(kind, Exception):
            self.artifact.flush()

"""RunLogs that need no server: silent, console (one progress bar), and several at once."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from components.contracts import RunLog

logger = logging.getLogger("kyara")
# The bars show warnings; without a handler of its own Python would print them a second time.
logger.addHandler(logging.NullHandler())


class SilentLog:
    """Keeps nothing. The base of the others, so that each overrides only what it shows."""

    def message(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def progress(self, done: int, total: int, *, unit: str = "step", **fields: float) -> None: ...

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None: ...

    def params(self, values: Mapping[str, Any]) -> None: ...

    def file(self, path: Path, folder: str = "") -> None: ...

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...


class ConsoleLog(SilentLog):
    """Lines and one progress bar with rate and time left. A context manager: leaving it closes the bar."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self.title = title
        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._unit = ""

    def __enter__(self) -> "ConsoleLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def message(self, text: str) -> None:
        logger.info("%s: %s", self.title, text)
        self.console.print(f"[bold]{self.title}[/bold] {text}", highlight=False)

    def warn(self, text: str) -> None:
        logger.warning("%s: %s", self.title, text)
        self.console.print(f"[bold yellow]{self.title} warning:[/] {text}", highlight=False)

    def progress(self, done: int, total: int, *, unit: str = "step", **fields: float) -> None:
        if self._bar is None or unit != self._unit:
            self._open(unit, total)
        assert self._bar is not None and self._task is not None
        note = "  ".join(f"{name} {value:.4g}" for name, value in fields.items())
        self._bar.update(self._task, completed=done, total=total, note=note, rate=self._rate(unit))
        if done >= total:
            self._close()

    def _rate(self, unit: str) -> str:
        assert self._bar is not None
        speed = self._bar.tasks[0].speed
        return f"{speed:.2f} {unit}/s" if speed else ""

    def _open(self, unit: str, total: int) -> None:
        self._close()
        self._unit = unit
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar = Progress(*columns, console=self.console, transient=False)
        self._task = self._bar.add_task(f"{self.title} ({unit}s)", total=total, note="", rate="")
        self._bar.start()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._task = None, None


class FileLog(SilentLog):
    """Every message, and a metrics line a call, into one log file (logs/train_<run id>.log)."""

    def __init__(self, path: Path, title: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.title = path, title

    def _write(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(f"{self.title}: {text}\n")

    def message(self, text: str) -> None:
        self._write(text)

    def warn(self, text: str) -> None:
        self._write(f"WARNING {text}")

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self._write(json.dumps({"step": step, **values}))


class Tee:
    """Tells each of several logs."""

    def __init__(self, *logs: RunLog) -> None:
        self.logs = logs

    def message(self, text: str) -> None:
        for log in self.logs:
            log.message(text)

    def warn(self, text: str) -> None:
        for log in self.logs:
            log.warn(text)

    def progress(self, done: int, total: int, *, unit: str = "step", **fields: float) -> None:
        for log in self.logs:
            log.progress(done, total, unit=unit, **fields)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        for log in self.logs:
            log.metrics(values, step)

    def params(self, values: Mapping[str, Any]) -> None:
        for log in self.logs:
            log.params(values)

    def file(self, path: Path, folder: str = "") -> None:
        for log in self.logs:
            log.file(path, folder)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        for log in self.logs:
            log.table(name, rows)

"""The few protocols that the rooms share. No torch here: a page can list modalities without loading it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image

    from components.recipe import StepConfig

FIGURES = "metrics.json"
"""What an evaluate stage measured, and what a promoted model carries of it."""
CALIBRATION = "calibration.json"
"""How sure a prompt's picture is, beside the figures (components.prompting.confidence)."""


@runtime_checkable
class RunLog(Protocol):
    """What a stage may tell about itself while it runs. Every method is cheap enough to be called once a step."""

    def message(self, text: str) -> None:
        """One line of text."""

    def warn(self, text: str) -> None:
        """One line that a user should not miss."""

    def progress(self, done: int, total: int, *, unit: str = "step", **fields: float) -> None:
        """Position in the longest loop; `fields` are shown beside the rate and the time left (loss, lr)."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers by name; with `step` they form a curve."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings worth comparing between runs."""

    def file(self, path: Path, folder: str = "") -> None:
        """A file (picture, plot, JSON) worth keeping with the run."""

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows with equal keys, shown as a table."""


class Stage(Protocol):
    """Folders in, one folder out. May be interrupted anywhere; called again with the same `out`, it resumes."""

    def __call__(self, config: "StepConfig", inputs: Mapping[str, Path], out: Path, log: RunLog) -> None: ...


@dataclass(frozen=True)
class Preview:
    """A generation under way: `done` of `total` steps; a small picture where one is cheap."""

    done: int
    total: int
    image: "Image | None" = None


@dataclass(frozen=True)
class Done:
    """A finished generation: the picture, its PNG bytes with metadata, and what made it."""

    image: "Image"
    png: bytes
    metadata: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Generator(Protocol):
    """Yields `Preview` events, then one `Done`. Closing the iterator cancels."""

    def generate(self, request: Any) -> Iterator[Preview | Done]: ...


@dataclass(frozen=True)
class Modality:
    """One row of the table in `modalities.py`: dotted strings, so that listing imports nothing heavy."""

    name: str
    recipe: str
    generator: str
    stages: Mapping[str, str]

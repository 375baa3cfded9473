"""The few protocols that the rooms share. No torch here: a page can list modalities without loading it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from components.artifact import Artifact
from components.recipe import StepConfig

Floats = NDArray[np.float64]

METRICS = "metrics.json"
"""What an evaluate stage measured, and what a promoted model carries of it."""
SUMMARY = "summary.json"
"""What any stage may leave to tell: plain JSON, shown as `<stage>.<key>`."""
CALIBRATION = "calibration.json"
"""How sure a prompt's picture is, beside the metrics (components.prompting.confidence)."""


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

    def __call__(self, config: Any, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None: ...


@dataclass(frozen=True)
class Preview:
    """A generation under way: `done` of `total` steps, and what there is so far where showing it is cheap."""

    done: int
    total: int
    content: bytes | None = None


@dataclass(frozen=True)
class Done:
    """A finished generation: its bytes with their media type, and what made it (JSON)."""

    content: bytes
    media_type: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Generator(Protocol):
    """A loaded product. It owns everything between a request and its answer, so that every way in behaves alike."""

    @property
    def card(self) -> Mapping[str, Any]:
        """What is served: name, version, digest, engine and what else the product says of itself (JSON)."""

    @property
    def parallel(self) -> int:
        """How many threads may `run` at once to advantage; 1: one after the other."""

    @property
    def counters(self) -> Mapping[str, int]:
        """What has happened since loading, for metrics, by name; only growing."""

    def run(self, request: Any, *, previews: bool = False) -> Iterator[Preview | Done]:
        """Yields `Preview` events, with what there is so far if `previews`, then one `Done`. Closing it cancels.

        Raises RequestError.
        """

    def reading(self, prompt: str, negative: str = "") -> Mapping[str, Any]:
        """How a text is read (JSON), without anything being drawn. Raises RequestError."""

    def parts(self) -> Mapping[str, Sequence[str]]:
        """What requests may name, by kind: LoRAs and other files that lie on this machine."""


class Product(Protocol):
    """What a modality makes of its stages' outputs: a module with these names. It imports nothing heavy by itself.

    Request: pydantic model of what can be asked; wrong values raise RequestError.
    ROUTES: HTTP path -> pydantic model, of what can be asked there alone.
    APIS: FastAPI routers of shapes that other clients of this modality speak, as dotted strings; often none.
    MEDIA_TYPE: of the content of `Done`.
    REGISTERED: names of the parts of a promoted folder that the registry keeps with the version.
    REQUIREMENTS: distributions that `load` and `run` need and no import names.
    PICTURES: what the report shows: title key, stage, pattern in its folder, largest count.
    HEADLINES: metrics that the report opens with: name, text key, unit.
    """

    Request: type[Any]
    ROUTES: Mapping[str, type[Any]]
    APIS: Sequence[str]
    MEDIA_TYPE: str
    REGISTERED: Sequence[str]
    REQUIREMENTS: Sequence[str]
    PICTURES: Sequence[tuple[str, str, str, int]]
    HEADLINES: Sequence[tuple[str, str, str]]

    def assemble(
        self, recipe: Any, outputs: Mapping[str, Path], out: Path, *, version: str, parents: Mapping[str, str]
    ) -> Artifact:
        """Put the stages' outputs (by stage) into one sealed, self-contained folder that appears whole or not at all.

        Raises ModelError where a part is missing.
        """

    def load(self, folder: Path, options: Mapping[str, Any] | None = None) -> Generator:
        """A promoted folder, verified and warm. `options`: the recipe's `package` section.

        Raises ModelError or ArtifactError.
        """

    def measured_again(self, recipe: Any, folder: Path) -> tuple[StepConfig, Mapping[str, Path]]:
        """Configuration and inputs with which the last stage measures a promoted folder as it measured the stages."""

    def example(self, recipe: Any) -> dict[str, Any]:
        """A request that shows what the product can do."""

    def plugins(self, folder: Path) -> Sequence[str]:
        """Dotted modules that a promoted folder needs besides `load`'s own imports."""


@dataclass(frozen=True)
class Verdict:
    """What a judge saw in N answers: features [N, D] for distances between sets, and whatever it needs to say more."""

    features: Floats
    seen: Any = None


class Judge(Protocol):
    """Looks at what a model made. Aspects and styles are the judge's own words, which the prompt sets share."""

    @property
    def digest(self) -> str:
        """Names the judge: metrics of two judges do not compare."""

    @property
    def facts(self) -> Mapping[str, float | str]:
        """How good the judge itself is, by metric name (`mean_accuracy`; `worst` and, as text, `worst.name`)."""

    def look(self, images: Any) -> Verdict:
        """Judge N answers."""

    def hits(self, verdict: Verdict, asked: Sequence[Mapping[str, str]], *styles: str) -> Mapping[str, Floats]:
        """Aspect -> [N] of 1 (shown), 0 (not shown), NaN (not asked, or one of `styles` cannot show it)."""

    def styled(self, verdict: Verdict, style: str) -> Floats:
        """1 where the answer is in the asked style, else 0, [N]."""

    def scores(self, verdict: Verdict, texts: Sequence[str], training: Floats) -> Mapping[str, Floats]:
        """Further scores [N] of answers to N prompts by name; NaN where one does not apply.

        `soundness`, where a judge has it: 1 for an answer as like a true one as two true ones are, 0 for a wrong one.
        `training`: features [M, D] of what the model learnt from.
        """

    def example(self, asked: Mapping[str, str], style: str, seed: int) -> Any | None:
        """A true answer to what was asked, to look at beside a model's; None where the judge knows none."""

    def reference(self, style: str) -> Floats | None:
        """Features [M, D] of held-out true examples of a style; None where there are none."""

    def check_style(self, style: str) -> None:
        """Raises RecipeError for a style that the judge does not know."""


@runtime_checkable
class PointingJudge(Protocol):
    """A judge that can also point: an edit then knows where to draw."""

    def where(self, image: Any, asked: Mapping[str, str]) -> Floats:
        """How much each place of one picture decides whether the asked aspects are there, [H, W] in [0, 1].

        Raises ModelError for an aspect or value that the judge does not know.
        """


@dataclass(frozen=True)
class Modality:
    """One row of the table in `modalities.py`: dotted strings, so that listing imports nothing heavy.

    recipe: its recipe class.
    stages: stage -> function, in order; the last one measures and leaves `metrics.json`.
    product: its module (see Product).
    serves: False: a version that passes the gate is registered and lies beside the models that use it; none is a
        champion, none is packaged.
    """

    name: str
    recipe: str
    stages: Mapping[str, str]
    product: str
    serves: bool = True

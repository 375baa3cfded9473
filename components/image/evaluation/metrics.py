"""Pictures and verdicts to the metrics of the report: name -> value, and `name.interval` where it was sampled."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components import statistics
from components.contracts import Judge, Verdict
from components.image.evaluation.drawing import BASE, LORA, lcm_name
from components.image.promptset import PromptItem
from components.image.recipe import EvaluateConfig, JudgeConfig
from components.statistics import Bootstrap, Estimate, Floats, KernelDistance

_THUMB = 32


@dataclass
class Metrics:
    """What metrics.json holds. A metric that is not a number (nothing was asked for) is left out."""

    values: dict[str, Any] = field(default_factory=dict)

    def put(self, name: str, estimate: Estimate | float) -> None:
        """Keep a metric, with its interval where it has one."""
        value = estimate.value if isinstance(estimate, Estimate) else estimate
        if not math.isfinite(value):
            return
        self.values[name] = value
        if isinstance(estimate, Estimate) and math.isfinite(estimate.low) and math.isfinite(estimate.high):
            self.values[f"{name}.interval"] = estimate.interval

    def numbers(self) -> dict[str, float]:
        """The plain numbers, for curves and tables."""
        return {name: value for name, value in self.values.items() if isinstance(value, int | float)}


@dataclass(frozen=True)
class Panel:
    """Who judges, and what style (in the judge's words) the base and the trained models should draw."""

    judge: Judge
    style: str
    base_style: str
    reference: Floats | None

    @classmethod
    def of(cls, judge: Judge, config: JudgeConfig) -> "Panel":
        """The panel that a recipe asks for. Raises DataError where its reference cannot be read."""
        return cls(judge, config.style, config.base_style, judge.reference(config.style) if config.reference else None)

    def style_of(self, variant: str) -> str:
        """The style that a variant's pictures should show."""
        return self.base_style if variant == BASE else self.style

    def hits(self, items: Sequence[PromptItem], verdict: Verdict, *styles: str) -> Mapping[str, Floats]:
        """Aspect -> hits [N] of N pictures, which belong to the first N prompts."""
        return self.judge.hits(verdict, [item.attributes for item in items[: len(verdict.features)]], *styles)

    def adherence(self, items: Sequence[PromptItem], verdict: Verdict, *styles: str) -> Floats:
        """Share of the asked aspects that a picture shows, [N]; NaN where none counts."""
        hits = self.hits(items, verdict, *styles)
        return statistics.adherence_of(hits) if hits else np.full(len(verdict.features), np.nan)


def judged_metrics(
    config: EvaluateConfig, panel: Panel, items: Sequence[PromptItem], verdicts: Mapping[str, Verdict], training: Floats
) -> Metrics:
    """Adherence, style, copying and KID of every variant; drop, ratio and gap between them.

    Args:
        verdicts: by variant.
        training: features [M, D] of the training pictures.
    """
    metrics = Metrics()
    distances: dict[str, KernelDistance] = {}
    for name, verdict in verdicts.items():
        shown = panel.style_of(name)
        bootstrap = _bootstrap(config, len(verdict.features))
        metrics.put(f"{name}.adherence", bootstrap.mean(panel.adherence(items, verdict, shown)))
        _by_aspect(metrics, name, items, panel.hits(items, verdict, shown), bootstrap)
        texts = [item.prompt for item in items[: len(verdict.features)]]
        for score, values in panel.judge.scores(verdict, texts, training).items():
            metrics.put(f"{name}.{score}", bootstrap.mean(values))
        if shown:
            metrics.put(f"{name}.style", bootstrap.mean(panel.judge.styled(verdict, shown)))
        if panel.reference is None:
            continue
        distances[name] = KernelDistance(verdict.features, panel.reference)
        metrics.put(f"{name}.kid", bootstrap.kid(distances[name]))
        if name != BASE:
            copied = statistics.copies(verdict.features, training, panel.reference)
            metrics.put(f"{name}.copying", bootstrap.mean(copied))
    _compare(config, panel, items, verdicts, distances, metrics)
    return metrics


def _by_aspect(
    metrics: Metrics, name: str, items: Sequence[PromptItem], hits: Mapping[str, Floats], bootstrap: Bootstrap
) -> None:
    """`balanced`: mean over aspects, which a frequent one cannot hide; `worst`: the weakest, and which it is."""
    groups = statistics.by_aspect([item.attributes for item in items], hits)
    metrics.put(f"{name}.balanced", statistics.balanced(groups))
    weakest = statistics.worst(groups)
    if weakest is not None:
        metrics.put(f"{name}.worst", bootstrap.mean(groups[weakest]))
        metrics.values[f"{name}.worst.name"] = weakest


def _compare(
    config: EvaluateConfig,
    panel: Panel,
    items: Sequence[PromptItem],
    verdicts: Mapping[str, Verdict],
    distances: Mapping[str, KernelDistance],
    metrics: Metrics,
) -> None:
    student = lcm_name(config.main_steps)
    bootstrap = _bootstrap(config, config.count)
    both = (panel.base_style, panel.style) if panel.base_style else (panel.style,)
    drop = (panel.adherence(items, verdicts[name], *both) for name in (BASE, LORA))
    metrics.put("lora.adherence_drop", bootstrap.difference(*drop))
    if student not in verdicts:
        return
    ratio = (panel.adherence(items, verdicts[name], panel.style) for name in (student, LORA))
    metrics.put("fidelity.adherence_ratio", bootstrap.ratio(*ratio))
    if distances:
        metrics.put("fidelity.kid_gap", bootstrap.kid_gap(distances[student], distances[LORA], distances[BASE]))


def plain_metrics(config: EvaluateConfig, drawn: Mapping[str, Sequence[Image.Image]]) -> Metrics:
    """What needs no judge: how alike student and teacher draw at equal prompts and seeds."""
    metrics = Metrics()
    for steps in config.lcm_steps:
        name = lcm_name(steps)
        if name not in drawn:
            continue
        estimate = similarity(drawn[name], drawn[LORA], _bootstrap(config, len(drawn[name])))
        metrics.put(f"{name}.similarity", estimate)
        if steps == config.main_steps:
            metrics.put("fidelity.similarity", estimate)
    return metrics


def similarity(student: Sequence[Image.Image], teacher: Sequence[Image.Image], bootstrap: Bootstrap) -> Estimate:
    """Correlation of small versions of both pictures, scaled: 1 is the same picture, 0 is as alike as two prompts are.

    Two portraits always correlate (a face in the middle), so the mean correlation of the student's pictures with the
    teacher's pictures of *other* prompts is taken as zero.
    """
    mine, theirs = _thumbs(student), _thumbs(teacher[: len(student)])
    table = mine @ theirs.T
    same, count = np.diag(table).copy(), len(table)
    chance = (table.sum() - same.sum()) / (count * (count - 1)) if count > 1 else 0.0
    return bootstrap.mean((same - chance) / (1 - chance))


def psnr(pictures: Floats, others: Floats) -> Floats:
    """Peak signal-to-noise ratio in dB of each picture [N, ...] in [0, 1], [N]."""
    errors = ((pictures - others) ** 2).reshape(len(pictures), -1).mean(axis=1)
    return np.asarray(-10 * np.log10(np.maximum(errors, 1e-10)), np.float64)


def _thumbs(pictures: Sequence[Image.Image]) -> NDArray[np.float64]:
    """Unit vectors without mean, [N, 3 * 32 * 32]."""
    small = (picture.resize((_THUMB, _THUMB), Image.Resampling.BOX) for picture in pictures)
    rows = np.stack([np.asarray(picture, np.float64).ravel() for picture in small])
    rows -= rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def _bootstrap(config: EvaluateConfig, count: int) -> Bootstrap:
    return Bootstrap(count, config.bootstrap, config.seed)


def variant_rows(names: Iterable[str], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a variant, from the metrics whose key begins with its name."""
    names = list(names)
    own = {
        name: {key.removeprefix(f"{name}."): value for key, value in metrics.items() if key.startswith(f"{name}.")}
        for name in names
    }
    columns = sorted(
        {column for row in own.values() for column, value in row.items() if isinstance(value, int | float)}
    )
    return [{"variant": name, **{column: own[name].get(column) for column in columns}} for name in names]

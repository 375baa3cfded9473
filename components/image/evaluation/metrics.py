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

    def put(self, name: str, estimate: Estimate | float | str) -> None:
        """Keep a metric, with its interval where it has one; a text as it is."""
        if isinstance(estimate, str):
            self.values[name] = estimate
            return
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
    """Who judges, and what styles (in the judge's words) the base, in turn, and the trained models should draw."""

    judge: Judge
    style: str
    base_styles: tuple[str, ...]
    reference: Floats | None

    @classmethod
    def of(cls, judge: Judge, config: JudgeConfig) -> "Panel":
        """The panel that a recipe asks for. Raises DataError where its reference cannot be read."""
        reference = judge.reference(config.style) if config.reference else None
        return cls(judge, config.style, config.base_styles, reference)

    def style_of(self, variant: str, place: int = 0) -> str:
        """The style that a variant's picture at that place should show; empty: any."""
        if variant != BASE:
            return self.style
        return self.base_styles[place % len(self.base_styles)] if self.base_styles else ""

    def hits(self, items: Sequence[PromptItem], verdict: Verdict, *variants: str) -> Mapping[str, Floats]:
        """Aspect -> hits [N] of N pictures, which belong to the first N prompts.

        An aspect counts where the styles of all `variants` can show it.
        """
        asked = [item.attributes for item in items[: len(verdict.features)]]
        styles = [self._styles(variants, place) for place in range(len(asked))]
        tables = {some: self.judge.hits(verdict, asked, *some) for some in set(styles)}
        first = next(iter(tables.values()))
        return {
            aspect: np.array([tables[some][aspect][place] for place, some in enumerate(styles)]) for aspect in first
        }

    def adherence(self, items: Sequence[PromptItem], verdict: Verdict, *variants: str) -> Floats:
        """Share of the asked aspects that a picture shows, [N]; NaN where none counts."""
        hits = self.hits(items, verdict, *variants)
        return statistics.adherence_of(hits) if hits else np.full(len(verdict.features), np.nan)

    def styled(self, verdict: Verdict, variant: str) -> Floats:
        """1 where a picture is in the style that it should show, [N]; NaN where it may be in any."""
        wanted = [self.style_of(variant, place) for place in range(len(verdict.features))]
        tables = {style: self.judge.styled(verdict, style) for style in set(filter(None, wanted))}
        return np.array([tables[style][place] if style else np.nan for place, style in enumerate(wanted)])

    def _styles(self, variants: Sequence[str], place: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(filter(None, (self.style_of(variant, place) for variant in variants))))


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
        followed(config, panel, items, verdict, training, name, metrics)
        if panel.reference is None:
            continue
        bootstrap = _bootstrap(config, len(verdict.features))
        distances[name] = KernelDistance(verdict.features, panel.reference)
        metrics.put(f"{name}.kid", bootstrap.kid(distances[name]))
        if name != BASE:
            copied = statistics.copies(verdict.features, training, panel.reference)
            metrics.put(f"{name}.copying", bootstrap.mean(copied))
    _compare(config, panel, items, verdicts, distances, metrics)
    return metrics


def followed(
    config: EvaluateConfig,
    panel: Panel,
    items: Sequence[PromptItem],
    verdict: Verdict,
    training: Floats,
    variant: str,
    metrics: Metrics,
    name: str | None = None,
) -> None:
    """Adherence, style and the judge's own scores of a variant's pictures, under `name` (its own by default)."""
    name = name or variant
    bootstrap = _bootstrap(config, len(verdict.features))
    metrics.put(f"{name}.adherence", bootstrap.mean(panel.adherence(items, verdict, variant)))
    _by_aspect(metrics, name, items, panel.hits(items, verdict, variant), bootstrap)
    metrics.put(f"{name}.style", bootstrap.mean(panel.styled(verdict, variant)))
    texts = [item.prompt for item in items[: len(verdict.features)]]
    for score, values in panel.judge.scores(verdict, texts, training).items():
        metrics.put(f"{name}.{score}", bootstrap.mean(values))


def _by_aspect(
    metrics: Metrics, name: str, items: Sequence[PromptItem], hits: Mapping[str, Floats], bootstrap: Bootstrap
) -> None:
    """`balanced`: mean over aspects, which a frequent one cannot hide; `worst`: the weakest, and which it is."""
    groups = statistics.by_aspect([item.attributes for item in items], hits)
    metrics.put(f"{name}.balanced", statistics.balanced(groups))
    weakest = statistics.worst(groups)
    if weakest is not None:
        metrics.put(f"{name}.worst", bootstrap.mean(groups[weakest]))
        metrics.put(f"{name}.worst.name", weakest)


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
    drop = (panel.adherence(items, verdicts[name], BASE, LORA) for name in (BASE, LORA))
    metrics.put("lora.adherence_drop", bootstrap.difference(*drop))
    if student not in verdicts:
        return
    ratio = (panel.adherence(items, verdicts[name], LORA) for name in (student, LORA))
    metrics.put("fidelity.adherence_ratio", bootstrap.ratio(*ratio))
    for score in ("soundness", "worst"):
        if metrics.values.get(f"{LORA}.{score}", 0.0) > 0.0:
            share = metrics.values.get(f"{student}.{score}", float("nan")) / metrics.values[f"{LORA}.{score}"]
            metrics.put(f"fidelity.{score}_ratio", share)
    if distances:
        metrics.put("fidelity.kid_gap", bootstrap.kid_gap(distances[student], distances[LORA], distances[BASE]))


def plain_metrics(
    config: EvaluateConfig, drawn: Mapping[str, Sequence[Image.Image]], training: Sequence[Image.Image]
) -> Metrics:
    """What needs no judge: how alike student and teacher draw at equal prompts and seeds, and what they copy."""
    metrics = Metrics()
    for name in (LORA, lcm_name(config.main_steps)):
        if name in drawn and len(training) > 2:
            copied = copied_lines(drawn[name], training)
            metrics.put(f"{name}.copied_lines", _bootstrap(config, len(copied)).mean(copied))
    for steps in config.lcm_steps:
        name = lcm_name(steps)
        if name not in drawn:
            continue
        estimate = similarity(drawn[name], drawn[LORA], _bootstrap(config, len(drawn[name])))
        metrics.put(f"{name}.similarity", estimate)
        if steps == config.main_steps:
            metrics.put("fidelity.similarity", estimate)
    return metrics


def copied_lines(pictures: Sequence[Image.Image], training: Sequence[Image.Image], percentile: float = 1.0) -> Floats:
    """1 where a picture's lines are nearer to a training picture's than those of two training pictures ever are, [N].

    Colours do not count: a copy in other colours is one. "Ever": `percentile` of the distances from each training
    picture to its nearest other one.
    """
    learnt = _lines(training)
    between = [statistics.nearest(row[None], np.delete(learnt, place, axis=0)) for place, row in enumerate(learnt)]
    near = np.percentile(np.concatenate(between), percentile)
    return np.asarray(statistics.nearest(_lines(pictures), learnt) < near, np.float64)


def _lines(pictures: Sequence[Image.Image]) -> Floats:
    """Strength of edges in grey, brought to 32x32 and to length 1, [N, 1024]."""
    rows = []
    for picture in pictures:
        grey = np.asarray(picture.convert("L").resize((4 * _THUMB, 4 * _THUMB)), np.float64)
        down, right = np.gradient(grey)
        edges = np.hypot(down, right).reshape(_THUMB, 4, _THUMB, 4).mean((1, 3)).ravel()
        rows.append(edges / max(np.linalg.norm(edges), 1e-9))
    return np.stack(rows)


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

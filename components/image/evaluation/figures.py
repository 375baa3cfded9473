"""Pictures and verdicts to the figures of the report: name -> value, and `name.interval` where it was sampled."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components import statistics
from components.image.evaluation.drawing import BASE, LORA, lcm_name
from components.image.promptset import PromptItem
from components.portraits.judge import Verdict
from components.recipe import EvaluateConfig
from components.statistics import Bootstrap, Estimate, Floats, KernelDistance

_THUMB = 32


@dataclass
class Figures:
    """What metrics.json holds. A figure that is not a number (nothing was asked for) is left out."""

    values: dict[str, Any] = field(default_factory=dict)

    def put(self, name: str, estimate: Estimate | float) -> None:
        """Keep a figure, with its interval where it has one."""
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
class Judged:
    """Verdicts by variant, and features [N, D] of the training pictures and of held-out pictures of the style."""

    verdicts: Mapping[str, Verdict]
    training: Floats
    reference: Floats | None


def judged_figures(config: EvaluateConfig, items: Sequence[PromptItem], judged: Judged) -> Figures:
    """adherence, style, copying and KID of every variant; drop, ratio and gap between them."""
    figures = Figures()
    distances: dict[str, KernelDistance] = {}
    for name, verdict in judged.verdicts.items():
        bootstrap = _bootstrap(config, len(verdict.style))
        shown = str(config.base_style) if name == BASE else config.style
        figures.put(f"{name}.adherence", bootstrap.mean(kept_promises(items, verdict, shown)))
        figures.put(f"{name}.style", bootstrap.mean(statistics.style_hits(verdict.style, shown)))
        if judged.reference is None:
            continue
        features = np.asarray(verdict.features, np.float64)
        distances[name] = KernelDistance(features, judged.reference)
        figures.put(f"{name}.kid", bootstrap.kid(distances[name]))
        if name != BASE:
            copied = statistics.copies(features, judged.training, judged.reference)
            figures.put(f"{name}.copying", bootstrap.mean(copied))
    _compare(config, items, judged.verdicts, distances, figures)
    return figures


def _compare(
    config: EvaluateConfig,
    items: Sequence[PromptItem],
    verdicts: Mapping[str, Verdict],
    distances: Mapping[str, KernelDistance],
    figures: Figures,
) -> None:
    student, both = lcm_name(config.main_steps), (str(config.base_style), config.style)
    bootstrap = _bootstrap(config, config.count)
    drop = bootstrap.difference(
        kept_promises(items, verdicts[BASE], *both), kept_promises(items, verdicts[LORA], *both)
    )
    figures.put("lora.adherence_drop", drop)
    ratio = bootstrap.ratio(*(kept_promises(items, verdicts[name], config.style) for name in (student, LORA)))
    figures.put("fidelity.adherence_ratio", ratio)
    if distances:
        figures.put("fidelity.kid_gap", bootstrap.kid_gap(distances[student], distances[LORA], distances[BASE]))


def kept_promises(items: Sequence[PromptItem], verdict: Verdict, *styles: str) -> Floats:
    """Adherence per picture, [N]; the pictures belong to the first N prompts."""
    asked = [item.attributes for item in items[: len(verdict.style)]]
    return statistics.adherence(asked, verdict.attributes, *styles)


def plain_figures(config: EvaluateConfig, drawn: Mapping[str, Sequence[Image.Image]]) -> Figures:
    """What needs no judge: how alike student and teacher draw at equal prompts and seeds."""
    figures = Figures()
    for steps in config.lcm_steps:
        name = lcm_name(steps)
        estimate = similarity(drawn[name], drawn[LORA], _bootstrap(config, len(drawn[name])))
        figures.put(f"{name}.similarity", estimate)
        if steps == config.main_steps:
            figures.put("fidelity.similarity", estimate)
    return figures


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


def variant_rows(names: Iterable[str], figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a variant, from the figures whose key begins with its name; the columns are those of the last one."""
    names = list(names)
    own = {
        name: {key.removeprefix(f"{name}."): value for key, value in figures.items() if key.startswith(f"{name}.")}
        for name in names
    }
    columns = sorted(column for column, value in own[names[-1]].items() if isinstance(value, int | float))
    return [{"variant": name, **{column: own[name].get(column) for column in columns}} for name in names]

"""Pictures under a control to figures: how near the pose or the lines come to what was asked, with and without it.

Examples are the unit of resampling: picture i of every column belongs to example i, at equal prompt and seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from components.image.evaluation.metrics import Metrics
from components.image.generation.control.keypoints import KeypointReader
from components.image.generation.control.pose import Keypoints, distance
from components.image.generation.control.sketch import Lines, agreement, find_lines
from components.statistics import Bootstrap, Estimate, Floats, mean

CONTROLLED, FREE, FEW, FEW_FREE = "controlled", "free", "few", "few_free"
"""Columns: all steps with and without control, then a distilled student's few steps."""


@dataclass(frozen=True)
class Measure:
    """What is measured: `name` and `unit` of the figure, and whether less is better."""

    name: str
    unit: str
    less: bool

    @property
    def key(self) -> str:
        return f"{self.name}.{self.unit}"


POSE, SKETCH = Measure("pose", "px", True), Measure("sketch", "f1", False)


def pose_errors(reader: KeypointReader, pictures: Sequence[Image.Image], asked: Sequence[Keypoints]) -> Floats:
    """Mean distance of the five points in pixels of 128, of each picture, [N]."""
    found = reader.read(list(pictures))
    rows = [distance(face.in_order, want.in_order).mean() for (face, _), want in zip(found, asked, strict=True)]
    return np.array(rows, np.float64)


def sketch_agreement(pictures: Sequence[Image.Image], asked: Sequence[Lines]) -> Floats:
    """F1 of the lines of each picture with those asked for, [N]."""
    return np.array([agreement(find_lines(one), want) for one, want in zip(pictures, asked, strict=True)], np.float64)


def control_metrics(
    measure: Measure, columns: Mapping[str, Floats], groups: Sequence[str], bootstrap: Bootstrap
) -> Metrics:
    """`<name>.<unit>` with its worst group, the same without control, the ratio of both, and what few steps keep.

    Args:
        columns: values [N] by `CONTROLLED`, `FREE` and, with a student, `FEW` and `FEW_FREE`.
        groups: of each example.
    """
    metrics = Metrics()
    values = columns[CONTROLLED]
    metrics.put(measure.key, bootstrap.mean(values))
    worst, name = worst_group(values, groups, less=measure.less)
    metrics.put(f"{measure.name}.worst", worst)
    metrics.values[f"{measure.name}.worst_group"] = name
    metrics.put(f"{measure.name}.without", bootstrap.mean(columns[FREE]))
    metrics.put(f"{measure.name}.ratio", bootstrap.ratio(values, columns[FREE]))
    if FEW in columns:
        metrics.put(f"lcm.{measure.key}", bootstrap.mean(columns[FEW]))
        if FEW_FREE in columns:
            metrics.put(f"lcm.{measure.name}.ratio", bootstrap.ratio(columns[FEW], columns[FEW_FREE]))
        metrics.put("lcm.control_ratio", kept(measure, columns[FEW], values, bootstrap))
    return metrics


def kept(measure: Measure, few: Floats, many: Floats, bootstrap: Bootstrap) -> Estimate:
    """What few steps keep of many: 1 where they are as good, more where better."""
    return bootstrap.ratio(many, few) if measure.less else bootstrap.ratio(few, many)


def worst_group(values: Floats, groups: Sequence[str], *, less: bool) -> tuple[float, str]:
    """The worst mean of a group, and which it is; where all are of one group, the worst picture."""
    names = sorted(set(groups))
    if len(names) < 2:
        place = int(np.argmax(values) if less else np.argmin(values))
        return float(values[place]), f"picture {place}"
    means = {name: mean(values[np.array([group == name for group in groups])]) for name in names}
    chosen = (max if less else min)(means, key=lambda name: means[name])
    return means[chosen], chosen

"""Curves of a run as one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from components.artifact import replacing

Rows = Sequence[Mapping[str, float]]


def draw_curves(rows: Rows, evaluations: Rows, path: Path) -> None:
    """Loss (each row, and smoothed), validation loss and score where there are, learning rate; saved as PNG."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps, losses = _column(rows, "step"), _column(rows, "loss")
    left.plot(steps, losses, alpha=0.3, linewidth=0.8, label="loss")
    left.plot(steps, _smooth(losses), label="loss, smoothed")
    for name, axes in (("val_loss", left), ("score", right)):
        known = [row for row in evaluations if name in row]
        if known:
            axes.plot(_column(known, "step"), _column(known, name), "o-", color="tab:red", label=name)
    left.set(xlabel="step", ylabel="loss", yscale="log")
    rate = right.twinx()
    rate.plot(steps, _column(rows, "lr"), color="tab:gray", label="learning rate")
    rate.set(ylabel="learning rate")
    right.set(xlabel="step")
    left.legend()
    figure.legend(*zip(*_handles(right, rate), strict=True), loc="outside upper right", ncols=2)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _column(rows: Rows, name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], dtype=np.float64)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Exponential moving average without the bias of its start."""
    decay, mean, smooth = 0.95, 0.0, []
    for count, value in enumerate(values, start=1):
        mean = decay * mean + (1 - decay) * value
        smooth.append(mean / (1 - decay**count))
    return np.array(smooth)


def _handles(*axes: object) -> list[tuple[object, str]]:
    return [pair for each in axes for pair in zip(*each.get_legend_handles_labels(), strict=True)]  # type: ignore[attr-defined]

"""Plots of an evaluation, drawn without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

_COLORS = ("#8d99ae", "#3a86ff", "#ff006e")


def by_steps(path: Path, figures: Mapping[str, Any], steps: Sequence[int], figure: str = "adherence") -> None:
    """A figure of the student over its step counts, with intervals; the teacher's as a line."""
    present = [count for count in sorted(steps) if f"lcm{count}.{figure}" in figures]
    values = [figures[f"lcm{count}.{figure}"] for count in present]
    spans = [
        figures.get(f"lcm{count}.{figure}.interval", [value] * 2) for count, value in zip(present, values, strict=True)
    ]
    around = np.abs(np.array(spans).T - np.array(values))
    plot, axes = _axes(f"{figure} by steps (95 % intervals over prompts)")
    axes.errorbar(present, values, yerr=around, marker="o", capsize=3, color=_COLORS[2], label="LCM")
    if f"lora.{figure}" in figures:
        low, high = figures.get(f"lora.{figure}.interval", [figures[f"lora.{figure}"]] * 2)
        axes.axhline(figures[f"lora.{figure}"], color=_COLORS[1], label="LoRA (teacher)")
        axes.axhspan(low, high, color=_COLORS[1], alpha=0.15)
    axes.set_xscale("log")
    axes.set_xticks(present, [str(count) for count in present])
    axes.minorticks_off()
    axes.set_xlabel("steps")
    _finish(plot, axes, path)


def by_attribute(path: Path, shares: Mapping[str, Mapping[str, float]]) -> None:
    """Bars: variant -> attribute -> share of pictures that show what was asked."""
    attributes = list(dict.fromkeys(attribute for row in shares.values() for attribute in row))
    plot, axes = _axes("asked attributes that the judge finds")
    width = 0.8 / len(shares)
    for place, (name, row) in enumerate(shares.items()):
        heights = [row.get(attribute, 0.0) for attribute in attributes]
        axes.bar(np.arange(len(attributes)) + place * width, heights, width, label=name, color=_COLORS[place % 3])
    axes.set_xticks(np.arange(len(attributes)) + 0.4 - width / 2, attributes, rotation=35, ha="right")
    axes.set_ylim(0, 1.02)
    _finish(plot, axes, path)


def conditions(path: Path, adherences: Mapping[str, float]) -> None:
    """Bars: condition of a prompt -> adherence; attacked ones stand out."""
    plot, axes = _axes("adherence: clean, attacked, rescued")
    colors = [_COLORS[2] if name.startswith("attacked") else _COLORS[1] for name in adherences]
    axes.bar_label(axes.barh(list(adherences), list(adherences.values()), color=colors), fmt="%.2f", padding=3)
    axes.set_xlim(0, 1.05)
    axes.invert_yaxis()
    _finish(plot, axes, path, legend=False)


def latency(path: Path, milliseconds: Mapping[str, float]) -> None:
    """Bars: one picture, text to PNG bytes, by what drew it."""
    plot, axes = _axes("one picture, text to PNG (median)")
    bars = axes.barh(list(milliseconds), list(milliseconds.values()), color=_COLORS[1])
    axes.bar_label(bars, fmt="%.0f ms", padding=3)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    _finish(plot, axes, path, legend=False)


def _axes(title: str) -> tuple[Figure, Any]:
    plot = Figure(figsize=(7, 4), layout="constrained")
    axes = plot.subplots()
    axes.set_title(title)
    axes.grid(alpha=0.3)
    return plot, axes


def _finish(plot: Figure, axes: Any, path: Path, legend: bool = True) -> None:
    if legend:
        plot.legend(loc="outside right upper")
    path.parent.mkdir(parents=True, exist_ok=True)
    plot.savefig(path, dpi=110)

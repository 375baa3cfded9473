"""Asks the base model for pictures and the judge what is on them: adherence by attribute and by style."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from components.image import sheets
from components.image.promptset import PromptItem, with_style
from components.portraits.adherence import attribute_hits
from components.portraits.judge import Judge, Verdict
from components.portraits.lines import line_maps
from components.portraits.vocabulary import ATTRIBUTES, BASE_STYLES
from components.portraits.world.renders import meant
from components.portraits.world.soundness import Soundness, of_verdict
from components.statistics import Estimate, Floats, adherence_of, balanced, by_aspect, mean, worst


@dataclass(frozen=True)
class StyleReport:
    """The pictures of one style and what the judge found on them."""

    style: str
    items: tuple[PromptItem, ...]
    pictures: tuple[Image.Image, ...]
    verdict: Verdict

    @property
    def hits(self) -> dict[str, Floats]:
        """Attribute -> found, [N]."""
        return attribute_hits(self.asked, self.verdict.attributes, self.style)

    @property
    def asked(self) -> list[dict[str, str]]:
        return [dict(item.attributes) for item in self.items]


@dataclass(frozen=True)
class Report:
    """One `StyleReport` a base style."""

    judge: Judge
    parts: tuple[StyleReport, ...]

    def summary(self) -> dict[str, Any]:
        """Adherence, style and soundness over all pictures and by style, every mean with the worst beside it."""
        hits = [part.hits for part in self.parts]
        together = {name: np.concatenate([table[name] for table in hits]) for name in ATTRIBUTES}
        asked = [row for part in self.parts for row in part.asked]
        sound = [of_verdict(self.judge, part.verdict, line_maps(part.pictures, self.judge.size)) for part in self.parts]
        whole = Soundness(*(np.concatenate([getattr(one, name) for one in sound]) for name in Soundness.__match_args__))
        return {
            **_metrics(asked, together),
            "style": _rounded(np.mean([np.mean(part.verdict.style == part.style) for part in self.parts])),
            "style.worst": min(
                (_rounded(np.mean(part.verdict.style == part.style)), part.style) for part in self.parts
            ),
            "soundness": _with_interval(whole.estimate()),
            "soundness.worst": min(
                (_rounded(one.estimate().value), part.style) for one, part in zip(sound, self.parts, strict=True)
            ),
            "attributes": {name: _rounded(mean(values)) for name, values in by_aspect(asked, together).items()},
            "styles": {
                part.style: {**_metrics(part.asked, part.hits), "soundness": _with_interval(one.estimate())}
                for one, part in zip(sound, self.parts, strict=True)
            },
        }


def _metrics(asked: Sequence[Mapping[str, str]], hits: Mapping[str, Floats]) -> dict[str, Any]:
    split = by_aspect(asked, hits)
    weakest = worst(split)
    return {
        "adherence": _rounded(mean(adherence_of(hits))),
        "balanced": _rounded(balanced(split)),
        "worst": (_rounded(mean(split[weakest])), weakest) if weakest else None,
    }


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 3)


def _with_interval(estimate: Estimate) -> list[float]:
    return [_rounded(estimate.value), *map(_rounded, estimate.interval)]


def measure(
    folder: Path,
    judge: Judge,
    items: Sequence[PromptItem],
    *,
    styles: Sequence[str] = BASE_STYLES,
    steps: int = 20,
    guidance: float = 4.0,
    batch: int = 16,
    device: str = "cpu",
) -> Report:
    """Every prompt in every style, by the diffusers pipeline in `folder`."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32).to(device)
    pipeline.set_progress_bar_config(disable=True)
    parts = []
    for style in styles:
        pictures: list[Image.Image] = []
        for start in range(0, len(items), batch):
            some = items[start : start + batch]
            pictures += pipeline(
                [with_style(item.prompt, style) for item in some],
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=[torch.Generator().manual_seed(item.seed) for item in some],
            ).images
        parts.append(StyleReport(style, tuple(items), tuple(pictures), judge.look(pictures)))
    return Report(judge, tuple(parts))


def grid(report: Report, path: Path, columns: int = 12) -> Path:
    """The first pictures of each style, and below each row true renders of what was asked for, as a PNG."""
    pictures: list[Image.Image] = []
    for part in report.parts:
        for start in range(0, min(len(part.pictures), 2 * columns), columns):
            some = slice(start, start + columns)
            pictures += [
                *part.pictures[some],
                *(meant(item.attributes, part.style, item.seed) for item in part.items[some]),
            ]
    path.parent.mkdir(parents=True, exist_ok=True)
    sheets.grid(pictures, columns).save(path)
    return path

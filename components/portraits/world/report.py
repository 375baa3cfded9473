"""Asks the base model for pictures and the judge what is on them: adherence by attribute and by style."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from components.image import sheets
from components.image.promptset import PromptItem, with_style
from components.portraits.adherence import adherence, attribute_hits
from components.portraits.judge import Judge, Verdict
from components.portraits.vocabulary import ATTRIBUTES, BASE_STYLES
from components.statistics import mean


@dataclass(frozen=True)
class StyleReport:
    """The pictures of one style and what the judge found on them."""

    style: str
    items: tuple[PromptItem, ...]
    pictures: tuple[Image.Image, ...]
    verdict: Verdict

    @property
    def asked(self) -> list[dict[str, str]]:
        return [dict(item.attributes) for item in self.items]


@dataclass(frozen=True)
class Report:
    """One `StyleReport` a base style."""

    parts: tuple[StyleReport, ...]

    def summary(self) -> dict[str, float]:
        """Adherence over all pictures, by style and by attribute, and the share of pictures in the asked style."""
        rows = {part.style: adherence(part.asked, part.verdict.attributes, part.style) for part in self.parts}
        hits = [attribute_hits(part.asked, part.verdict.attributes, part.style) for part in self.parts]
        result = {"adherence": mean(np.concatenate(list(rows.values())))}
        result["style"] = float(np.mean([np.mean(part.verdict.style == part.style) for part in self.parts]))
        result |= {style: mean(values) for style, values in rows.items()}
        result |= {name: mean(np.concatenate([table[name] for table in hits])) for name in ATTRIBUTES}
        return {name: round(float(value), 3) for name, value in result.items()}


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
    return Report(tuple(parts))


def grid(report: Report, path: Path, columns: int = 12) -> Path:
    """The first pictures of each style, one row a style or more, as a PNG."""
    pictures = [picture for part in report.parts for picture in part.pictures[: 2 * columns]]
    path.parent.mkdir(parents=True, exist_ok=True)
    sheets.grid(pictures, columns).save(path)
    return path

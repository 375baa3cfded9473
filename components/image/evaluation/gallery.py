"""Pictures to look at: prompts as people type them, at twice the size, and beside true ones where there are any."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from components.image.evaluation.drawing import LORA
from components.image.evaluation.metrics import Panel
from components.image.promptset import PromptItem
from components.image.sheets import sheet

COUNT = 24
_ACROSS = 6
_WIDTHS = (256, 512)


def gallery(panel: Panel | None, items: Sequence[PromptItem], drawn: Sequence[Image.Image], folder: Path) -> None:
    """Write gallery.png, and gallery-beside.png where the judge can show what was meant (each row above its own)."""
    rows = [drawn[start : start + _ACROSS] for start in range(0, len(drawn), _ACROSS)]
    sheet(rows, widths=_WIDTHS).save(folder / "gallery.png")
    if panel is None:
        return
    true = [panel.judge.example(item.attributes, panel.style_of(LORA), item.seed) for item in items]
    if any(picture is None for picture in true):
        return
    meant = [true[start : start + _ACROSS] for start in range(0, len(true), _ACROSS)]
    both = [row for pair in zip(rows, meant, strict=True) for row in pair]
    sheet(both).save(folder / "gallery-beside.png")

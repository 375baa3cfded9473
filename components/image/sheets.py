"""Sheets: pictures in rows and columns, with labels where wanted."""

import sys
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_GAP = 4
_TEXT = 14
_WIDTHS = (96, 256)
_MARGIN = 210


def sheet(
    rows: Sequence[Sequence[Image.Image | None]],
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    *,
    gap: int = _GAP,
    widths: tuple[int, int] = _WIDTHS,
) -> Image.Image:
    """A grid of pictures; `columns` stand above, `labels` (wrapped) to the left. None leaves a cell empty.

    Pictures are brought to the first one's width within `widths`, in pixels, and keep its shape.
    """
    first = next(picture for row in rows for picture in row if picture is not None)
    width = min(max(first.width, widths[0]), widths[1])
    height = round(first.height * width / first.width)
    left, top = (_MARGIN if labels else 0), (_TEXT + 2 * _GAP if columns else 0)
    across = max(len(row) for row in rows)
    canvas = Image.new("RGB", (left + across * (width + gap), top + len(rows) * (height + gap)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_TEXT)
    for place, text in enumerate(columns):
        draw.text((left + place * (width + gap) + width // 2, _GAP), _latin(text, "?"), "black", font, anchor="ma")
    for line, row in enumerate(rows):
        y = top + line * (height + gap)
        if labels:
            draw.multiline_text((_GAP, y), _wrapped(labels[line], line, height), "black", font)
        for place, picture in enumerate(row):
            if picture is not None:
                canvas.paste(picture.resize((width, height)), (left + place * (width + gap), y))
    return canvas


def contact(pictures: Sequence[Image.Image], across: int = 8) -> Image.Image:
    """Pictures in reading order, without labels."""
    return sheet(_rows(pictures, across))


def grid(pictures: Sequence[Image.Image], across: int) -> Image.Image:
    """Pictures of one size in reading order, as they are, edge to edge."""
    return sheet(_rows(pictures, across), gap=0, widths=(1, sys.maxsize))


def _rows(pictures: Sequence[Image.Image], across: int) -> list[Sequence[Image.Image]]:
    return [pictures[start : start + across] for start in range(0, len(pictures), across)]


def _wrapped(text: str, line: int, height: int) -> str:
    lines = textwrap.wrap(_latin(text, f"prompt {line + 1}"), _MARGIN // 8)
    return "\n".join(lines[: max(1, height // (_TEXT + 4))])


def _latin(text: str, otherwise: str) -> str:
    """Pillow's own font has Latin letters only."""
    return text if text.isascii() else otherwise

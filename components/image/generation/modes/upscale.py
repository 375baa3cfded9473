"""Upscaling ("hires fix"): draw, or take a picture, enlarge it, and draw it over at low strength."""

from typing import TYPE_CHECKING, Literal

from PIL import Image
from pydantic import Field

from components.image.generation.pictures import Picture, decoded
from components.image.generation.request import GenerateRequest

if TYPE_CHECKING:
    from components.image.generation.canvas import Canvas, Events


class UpscaleRequest(GenerateRequest):
    """What to draw first (or which picture to take), how much larger it becomes and how much is drawn over."""

    mode: Literal["upscale"] = "upscale"
    image: Picture | None = Field(None, description="A picture to enlarge, base64; null: one is drawn first.")
    scale: float = Field(2.0, gt=1, le=4, description="Of both sides, rounded to what the model can draw.")
    strength: float = Field(0.25, ge=0, le=1, description="Of drawing over; 0 only enlarges.")


def draw(canvas: "Canvas", request: UpscaleRequest) -> "Events":
    """One large picture."""
    small = None if request.image is None else decoded(request.image, "image")
    first = None if small else canvas.plan(*canvas.size())
    size = small.size if small else canvas.size()
    width, height = (round(side * request.scale / canvas.unit) * canvas.unit for side in size)
    over = canvas.plan(*canvas.checked(width, height), strength=request.strength)
    if small is None:
        assert first is not None
        small = canvas.picture((yield from canvas.sample(first)))
    large = small.resize(over.size, Image.Resampling.LANCZOS)
    if request.strength > 0:
        large = canvas.picture((yield from canvas.sample(over, clean=canvas.encode(large))))
    yield canvas.drawn(over, large)

"""Image to image (SDEdit, arXiv 2108.01073): a picture is noised to `strength` and drawn over from there."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from components.image.generation.pictures import Picture
from components.image.generation.request import GenerateRequest

if TYPE_CHECKING:
    from components.image.generation.canvas import Canvas, Events


class ImageToImageRequest(GenerateRequest):
    """A picture and how much of it may change."""

    mode: Literal["image_to_image"] = "image_to_image"
    image: Picture = Field(description="The picture to start from, base64; drawn at its own size unless asked.")
    strength: float = Field(
        0.6, ge=0, le=1, description="0 keeps the picture (as the autoencoder sees it), 1 draws a new one."
    )


def draw(canvas: "Canvas", request: ImageToImageRequest) -> "Events":
    """One picture of the prompt, like the given one."""
    picture = canvas.given(request.image, "image")
    plan = canvas.plan(*picture.size, strength=request.strength)
    latents = yield from canvas.sample(plan, clean=canvas.encode(picture))
    yield canvas.drawn(plan, canvas.picture(latents))

"""Text to image: from noise, all steps."""

from typing import TYPE_CHECKING

from components.image.generation.request import GenerateRequest

if TYPE_CHECKING:
    from components.image.generation.canvas import Canvas, Events


def draw(canvas: "Canvas", request: GenerateRequest) -> "Events":
    """One picture of the prompt."""
    plan = canvas.plan(*canvas.size())
    latents = yield from canvas.sample(plan)
    yield canvas.drawn(plan, canvas.picture(latents))

"""Sliders: a picture moved along attribute directions in its latents, then drawn over lightly (see `directions`)."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from components.errors import DataError, RequestError
from components.image.generation.pictures import Picture
from components.image.generation.request import GenerateRequest
from components.settings import settings

if TYPE_CHECKING:
    from components.image.generation.canvas import Canvas, Events
    from components.image.generation.directions import Directions

Amount = Annotated[float, Field(ge=-5, le=5)]


class SlidersRequest(GenerateRequest):
    """A picture, and how far along which directions."""

    mode: Literal["sliders"] = "sliders"
    image: Picture | None = Field(None, description="The picture, base64; null: it is drawn first.")
    sliders: dict[str, Amount] = Field(
        min_length=1, max_length=32, description="attribute=value -> amount; 1: as other pictures differ, -1: away."
    )
    strength: float = Field(0.3, ge=0, le=1, description="How much the moved picture is drawn over; 0: not at all.")


def draw(canvas: "Canvas", request: SlidersRequest) -> "Events":
    """The picture after the move."""
    given = None if request.image is None else canvas.given(request.image, "image")
    size = canvas.size() if given is None else given.size
    directions = known(canvas)
    first = canvas.plan(*size, strength=1.0 if given is None else 0.0)
    over = canvas.plan(*size, strength=request.strength)
    clean = canvas.encode(given) if given is not None else (yield from canvas.sample(first)).cpu()
    moved = clean + directions.step(request.sliders, clean)
    latents = yield from canvas.sample(over, clean=moved)
    yield canvas.drawn(over, canvas.picture(latents))


def known(canvas: "Canvas") -> "Directions":
    """The model's sliders, from its folder or KYARA_HOME/sliders. Raises RequestError."""
    from components.image.generation.directions import Directions

    name, side = canvas.promoted.card.name, canvas.promoted.card.model.resolution // canvas.bundle.scale
    places = (canvas.promoted.folder / "sliders.safetensors", settings().sliders_dir / f"{name}.safetensors")
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        hint = "Make them with `kyara directions`, from labelled pictures."
        raise RequestError(f"model {name!r} has no sliders.", hint=hint)
    try:
        return Directions.load(file, (canvas.bundle.latent_channels, side, side))
    except DataError as error:
        raise RequestError(error.message, hint=error.hint) from error

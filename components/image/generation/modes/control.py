"""Control: line art or a pose steers the picture, through ControlNets (arXiv 2302.05543) beside the one UNet."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from components.image.generation.control.pose import Pose
from components.image.generation.pictures import Picture
from components.image.generation.request import GenerateRequest
from components.recipe import Frozen

if TYPE_CHECKING:
    from components.image.generation.canvas import Canvas, Events

MOST = 4
"""Controls of one request."""


class Steering(Frozen):
    """One control: its kind, what it is shown, and how much it counts."""

    kind: Literal["sketch", "pose", "picture"] = Field(
        description="sketch: line art; pose: a figure of the face; picture: whatever the named `model` is shown."
    )
    image: Picture | None = Field(None, description="The drawing or figure itself, or a picture to find it in.")
    from_picture: bool = Field(
        False, description="Find the lines, or the face, in `image` instead of showing it as it is."
    )
    pose: Pose | None = Field(None, description="A pose by numbers instead of an image.")
    weight: float = Field(1.0, ge=0, le=2, description="How much it counts; 0: not at all.")
    model: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Name of a ControlNet that this server knows; null: the one of this kind for this model's base.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.image is None) == (self.pose is None):
            raise ValueError("give either an image or, for a pose, its numbers")
        if self.pose is not None and (self.kind != "pose" or self.from_picture):
            raise ValueError("numbers are for kind 'pose', without from_picture")
        if self.kind == "picture" and (self.from_picture or self.model is None):
            raise ValueError("kind 'picture' needs a model, and shows the image as it is")
        return self


class ControlRequest(GenerateRequest):
    """A prompt, and what steers its picture."""

    mode: Literal["control"] = "control"
    controls: tuple[Steering, ...] = Field(
        min_length=1, max_length=MOST, description="What steers the picture; several are summed by their weights."
    )


def draw(canvas: "Canvas", request: ControlRequest) -> "Events":
    """One picture of the prompt under the controls."""
    from components.image.generation.control.generator import ControlledCharacterGenerator

    return ControlledCharacterGenerator(canvas).draw(request)

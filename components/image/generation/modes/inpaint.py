"""Inpainting: what a mask marks is drawn anew, and every other pixel stays bit for bit."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from pydantic import Field, WithJsonSchema, model_validator

from components.errors import RequestError
from components.image.generation.pictures import Picture, decoded, decoded_mask
from components.image.generation.request import GenerateRequest

if TYPE_CHECKING:
    from torch import Tensor

    from components.image.generation.canvas import Canvas, Events

Side = Annotated[int, Field(strict=True, ge=0, le=4096)]
# As an array of equal items: BentoML's client knows no `prefixItems`.
_SIDES = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 4096}, "minItems": 4, "maxItems": 4}
Box = Annotated[tuple[Side, Side, Side, Side], WithJsonSchema(_SIDES)]


class InpaintRequest(GenerateRequest):
    """A picture, and where it is drawn anew: a mask or a box."""

    mode: Literal["inpaint"] = "inpaint"
    image: Picture = Field(description="The picture, base64.")
    mask: Picture | None = Field(
        None, description="A picture of the same size, base64: white is drawn anew, black stays, grey is mixed."
    )
    box: Box | None = Field(None, description="Left, top, right, bottom in pixels of the picture, instead of a mask.")
    feather: int = Field(0, strict=True, ge=0, le=256, description="Pixels over which the inner edge is mixed.")
    strength: float = Field(0.8, ge=0, le=1, description="0 keeps what is inside as well, 1 draws it from noise.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "InpaintRequest":
        if (self.mask is None) == (self.box is None):
            raise ValueError("expected a mask or a box")
        return self


def draw(canvas: "Canvas", request: InpaintRequest) -> "Events":
    """The picture with something else inside the mask."""
    from components.image.generation.start import Keep

    picture = canvas.given(request.image, "image")
    share = share_drawn(request, picture.size)
    plan = canvas.plan(*picture.size, strength=request.strength)
    clean = canvas.encode(picture)
    keep = Keep(latent_mask(share, canvas.bundle.scale), clean)
    latents = yield from canvas.sample(plan, clean=clean, keep=keep)
    yield canvas.drawn(plan, composed(picture, canvas.picture(latents), share))


def share_drawn(request: InpaintRequest, size: tuple[int, int]) -> NDArray[np.float32]:
    """How much of each pixel is drawn anew, [H, W] in [0, 1], for a picture that is drawn at `size` (width, height).

    Raises:
        RequestError: a mask of another size than the picture, or one that marks nothing, or a box outside.
    """
    given = decoded(request.image, "image").size
    marked = _boxed(request.box, given) if request.box else _masked(str(request.mask), given)
    marked = marked if given == size else marked.resize(size, Image.Resampling.BILINEAR)
    share = np.asarray(marked, dtype=np.float32) / np.float32(255)
    if not share.any():
        raise RequestError("the mask marks nothing.", hint="White is drawn anew, black stays.")
    if request.feather:
        blurred = marked.filter(ImageFilter.GaussianBlur(request.feather / 2))
        # Blurring leaves one half on the edge: the upper half is a ramp that begins there and rises inwards.
        share = np.minimum(share, np.clip(np.asarray(blurred, dtype=np.float32) / np.float32(127.5) - 1, 0, 1))
    return share


def latent_mask(share: NDArray[np.float32], scale: int) -> "Tensor":
    """1 where a latent reaches any pixel that is drawn, [1, 1, H/scale, W/scale]."""
    import torch

    height, width = (side // scale for side in share.shape)
    cells = share.reshape(height, scale, width, scale).max(axis=(1, 3))
    return torch.from_numpy((cells > 0).astype(np.float32))[None, None]


def composed(picture: Image.Image, drawn: Image.Image, share: NDArray[np.float32]) -> Image.Image:
    """`drawn` laid over `picture`; where `share` is 0 the bytes are those of the picture."""
    below, above = np.asarray(picture), np.asarray(drawn, dtype=np.float32)
    weight = share[..., None]
    mixed = (weight * above + (1 - weight) * below).round().astype(np.uint8)
    return Image.fromarray(np.where(weight > 0, mixed, below))


def _masked(mask: str, size: tuple[int, int]) -> Image.Image:
    grey = decoded_mask(mask, "mask")
    if grey.size != size:
        found, wanted = (f"{width}x{height}" for width, height in (grey.size, size))
        raise RequestError(f"mask has {found} pixels and the picture {wanted}.", hint="Make them equally large.")
    return grey


def _boxed(box: tuple[int, int, int, int], size: tuple[int, int]) -> Image.Image:
    left, top, right, bottom = box
    width, height = size
    if not (left < right <= width and top < bottom <= height):
        raise RequestError(f"box {list(box)} is wrong: expected left < right <= {width} and top < bottom <= {height}.")
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rectangle((left, top, right - 1, bottom - 1), fill=255)
    return mask

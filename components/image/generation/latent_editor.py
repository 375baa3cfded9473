"""A model's latents as a space to move in: between pictures, along attributes, and back to the noise.

editor = LatentSpaceEditor(bundle)
latents = editor.encode([picture])
editor.decode(editor.move(latents, {"hair_color=pink": 1.0}, directions))
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from components.artifact import replacing
from components.errors import DataError, RequestError
from components.image.families.bundle import Bundle
from components.image.generation.directions import Directions
from components.image.generation.inversion import ITERATIONS, Inverted, invert, redraw
from components.image.generation.latent import Predict, last, to_images


class LatentSpaceEditor:
    """Latents are [B, C, h, w] as `Bundle.encode_images` scales them: about unit variance.

    Args:
        bundle: the model, in torch (an engine's stand-ins may decode and predict, too).
        predict: an engine's UNet instead of the bundle's.
    """

    def __init__(self, bundle: Bundle, predict: Predict | None = None) -> None:
        self.bundle, self.predict = bundle, predict

    def encode(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Latents of pictures of one size, whose sides are multiples of `Bundle.scale`.

        Raises:
            RequestError: no picture, several sizes, or sides that are no multiples.
        """
        sizes = sorted({picture.size for picture in pictures})
        if len(sizes) != 1:
            raise RequestError(f"pictures of sizes {sizes} cannot be encoded together: expected one size.")
        if any(side % self.bundle.scale for side in sizes[0]):
            raise RequestError(f"size {sizes[0]} is wrong: expected sides that are multiples of {self.bundle.scale}.")
        return self.bundle.encode_images(to_pixels(pictures))

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Pictures of latents."""
        return to_images(self.bundle.decode_latents(latents))

    def invert(
        self, pictures: Sequence[Image.Image], prompts: Sequence[str], steps: int = 50, iterations: int = ITERATIONS
    ) -> Inverted:
        """The noise from which the model draws these pictures under these prompts (see `inversion`)."""
        options = {"steps": steps, "iterations": iterations}
        condition = self.bundle.encode_prompts(prompts)
        *_, (_, found) = invert(self.bundle, self.encode(pictures), condition, predict=self.predict, **options)
        return found

    def redraw(self, inverted: Inverted, prompts: Sequence[str]) -> list[Image.Image]:
        """Pictures of inverted noise; under the prompts of the inversion they are those that were inverted."""
        return self.decode(
            last(redraw(self.bundle, inverted, self.bundle.encode_prompts(prompts), predict=self.predict))
        )

    def move(self, latents: Tensor, amounts: Mapping[str, float], directions: Directions) -> Tensor:
        """Latents moved along sliders: 1 is the mean step from the other values to this one, negative away from it.

        Raises:
            RequestError: no such slider.
        """
        return latents + directions.step(amounts, latents)


def slerp(first: Tensor, second: Tensor, amount: float) -> Tensor:
    """Spherical interpolation of each row (Shoemake 1985, equation 5.3), [B, ...]; 0 is the first, 1 the second.

    Between two draws of Gaussian noise it stays as long as they are, where a straight line would be shorter and show
    less. Norms go over evenly; rows that point the same or opposite ways are interpolated straight.
    """
    a, b = first.flatten(1), second.flatten(1)
    lengths = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    cosine = (a * b).sum(1, keepdim=True) / (lengths[0] * lengths[1]).clamp_min(1e-12)
    angle = torch.acos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    flat = sine.abs() < 1e-4
    sine = torch.where(flat, torch.ones_like(sine), sine)
    unit = (torch.sin((1 - amount) * angle) * a / lengths[0].clamp_min(1e-12)
            + torch.sin(amount * angle) * b / lengths[1].clamp_min(1e-12)) / sine  # fmt: skip
    bent = unit * torch.lerp(lengths[0], lengths[1], amount)
    return torch.where(flat, torch.lerp(a, b, amount), bent).view_as(first)


def mix_style(content: Tensor, style: Tensor, amount: float = 1.0) -> Tensor:
    """Content with the channel means and deviations of another picture: AdaIN (arXiv 1703.06868, equation 8).

    Both [B, C, h, w], of any sizes; the latents' channels carry colour and contrast, their places the drawing.
    """
    axes = (-2, -1)
    mean, deviation = content.mean(axes, keepdim=True), content.std(axes, keepdim=True)
    styled = (content - mean) / deviation.clamp_min(1e-6) * style.std(axes, keepdim=True)
    return torch.lerp(content, styled + style.mean(axes, keepdim=True), amount)


def combine(terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """A weighted sum of latents of one shape: [(1, smiling), (-1, plain), (1, another)].

    Raises:
        RequestError: nothing to add, or shapes that differ.
    """
    shapes = {tuple(latents.shape) for _, latents in terms}
    if len(shapes) != 1:
        raise RequestError(f"latents of shapes {sorted(shapes)} cannot be added: expected one shape.")
    return sum((weight * latents for weight, latents in terms), torch.zeros_like(terms[0][1]))


def save_latents(path: Path, latents: Mapping[str, Tensor]) -> None:
    """Latents by name, [C, h, w] each, as one safetensors file."""
    with replacing(path) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in latents.items()}, temporary)


def load_latents(path: Path) -> dict[str, Tensor]:
    """What `save_latents` wrote. Raises DataError where it cannot be read."""
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except Exception as error:  # safetensors raises several kinds
        raise DataError(f"latents {str(path)!r} cannot be read: {error}.") from error


def to_pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as [B, 3, H, W] in [-1, 1]."""
    array = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    return torch.from_numpy(array).permute(0, 3, 1, 2).float().div(127.5).sub(1)

"""Where a picture changes when words of its prompt change, as a mask in latents: three ways behind one function.

Measured on the embedded base (edits of 10 drawn portraits, a fifth each of expression, hair colour, clothes, background
and glasses): the asked attribute changed in 10 by `difference`, 9 by `judge`, 7 by `attention`, which cannot find what
is not there yet; the others were kept alike, 0.95, 0.96 and 0.98.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from components.contracts import PointingJudge
from components.errors import ModelError, RequestError
from components.image.families.bundle import Condition
from components.image.generation.attention import LEVELS, attention_map, token_places
from components.image.generation.changes import Changed
from components.image.generation.latent import own_guidance
from components.image.generation.request import MaskSource
from components.image.generation.start import mixed

if TYPE_CHECKING:
    from components.image.generation.canvas import Canvas, Plan

GROWN = 3
"""Latents by which a mask grows beyond what was found: edges are drawn over, too."""
SOFT = 1.0
"""Deviation of a mask's edge, in latents."""
_LEAST, _MOST = 0.01, 0.85
"""Share of the picture: outside of that nothing was found, and everything may change."""


CALLS = 2 * len(LEVELS)
"""Of the UNet, that a mask costs at most."""


def locate(
    canvas: "Canvas", source: MaskSource, change: Changed, before: "Plan", after: "Plan", clean: Tensor
) -> Tensor:
    """A mask [1, 1, h, w] from 0 to 1 of what a change may draw over; all ones where nothing was found.

    Args:
        before, after: plans of the prompt before and after the change.
        clean: latents [1, C, h, w] of the picture as it is.

    Raises:
        RequestError: the judge is asked where there is none that can point, or that knows what changed.
    """
    if source == "none":
        return torch.ones(1, 1, *clean.shape[-2:])
    found: Tensor | None
    if source == "judge":
        found = _pointed(canvas, change, clean)
    elif source == "difference":
        found = differing(canvas, before, after, clean)
    else:
        found = _attended(canvas, change, before, after, clean)
    return torch.ones(1, 1, *clean.shape[-2:]) if found is None else to_mask(found)


def to_mask(found: Tensor, grown: int = GROWN, soft: float = SOFT) -> Tensor:
    """A map [1, 1, h, w] from 0 to 1, cut in two where Otsu (1979) would, grown, with a soft edge outside of it."""
    cut = (found > otsu(found)).float()
    if not _LEAST <= float(cut.mean()) <= _MOST:
        return torch.ones_like(found)
    wide = functional.max_pool2d(cut, 2 * grown + 1, 1, grown)
    return torch.maximum(blurred(wide, soft), functional.max_pool2d(cut, 3, 1, 1))


def otsu(found: Tensor, levels: int = 64) -> float:
    """The threshold that parts values from 0 to 1 into the two classes that differ most (Otsu 1979, equation 12)."""
    edges = torch.linspace(0, 1, levels + 1)[1:-1]
    values = found.flatten()
    above = values[None] > edges[:, None]
    share = above.float().mean(1)
    mean = values.mean()
    high = (values[None] * above).mean(1) / share.clamp_min(1e-8)
    between = share * (high - mean) ** 2 / (1 - share).clamp_min(1e-8)
    between[(share == 0) | (share == 1)] = -1
    return float(edges[between.argmax()])


def blurred(mask: Tensor, deviation: float) -> Tensor:
    """A mask [1, 1, h, w] under a Gaussian."""
    radius = max(int(3 * deviation), 1)
    at = torch.arange(-radius, radius + 1, dtype=mask.dtype)
    kernel = torch.exp(-(at**2) / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(mask, [radius] * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _attended(canvas: "Canvas", change: Changed, before: "Plan", after: "Plan", clean: Tensor) -> Tensor | None:
    """Where the words that went are read in the picture; of what it had not said, where those that came are."""
    maps = []
    noise = canvas.noise(before)
    for old, new in zip(change.old, change.new, strict=True):
        plan, words = (before, old) if old else (after, new)
        if places := token_places(canvas.bundle, plan.prompt, words):
            with canvas.plain.using(canvas.loras) as bundle:
                maps.append(attention_map(bundle, clean, noise, plan.condition, places))
    return torch.stack(maps).amax(0) if maps else None


def differing(canvas: "Canvas", before: "Plan", after: "Plan", clean: Tensor) -> Tensor:
    """Where the model wants something else under the one prompt than under the other (DiffEdit, arXiv 2210.11427)."""
    bundle, total = canvas.bundle, torch.zeros(1, 1, *clean.shape[-2:])
    noise = canvas.noise(before)
    both = Condition.cat([before.condition, after.condition])
    for level in LEVELS:
        t = level * len(bundle.schedule) // 1000
        noised = mixed(clean, noise, bundle.schedule.alphas[t]).to(bundle.device).repeat(2, 1, 1, 1)
        answers = canvas.predict(noised, torch.full((2,), t, device=bundle.device), both, own_guidance(bundle, 2))
        apart = (answers[1] - answers[0]).abs().mean(0)[None, None].cpu()
        total += apart / apart.mean().clamp_min(1e-8)
    smooth = blurred(total, 1.0)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min()).clamp_min(1e-8)


def _pointed(canvas: "Canvas", change: Changed, clean: Tensor) -> Tensor:
    judge: Any = canvas.judge
    if not isinstance(judge, PointingJudge):
        raise RequestError("mask 'judge' needs a judge that can point: this model has none.", hint="Ask for attention.")
    try:
        seen = torch.from_numpy(judge.where(canvas.picture(clean), change.asked)).float()[None, None]
    except ModelError as error:
        raise RequestError(f"mask 'judge' does not fit this change: {error}", hint="Ask for attention.") from error
    small = functional.interpolate(seen, clean.shape[-2:], mode="area")
    smooth = blurred(small, 1.5)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min()).clamp_min(1e-8)

"""Where in the picture an attribute shows, so that the base model's loss can look there.

A mouth or an earring is some 10 to 80 of a latent's 1,024 pixels. In an even mean its error drowns in that of hair,
whose strands no caption tells: after 6,000 steps the expression was still drawn nearly by chance.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.portraits.world.renders import Portrait

SMALL = ("expression", "glasses", "earrings")
_LAYOUT = ("position", "scale", "tilt", "facing")
_LEAST = 8
"""Pictures of a value below which its mean says nothing."""
_CERTAIN = 10.0
"""The F statistic from which a pixel counts in full."""


def weight_maps(latents: Tensor, portraits: Sequence[Portrait], gain: float = 4.0) -> Tensor:
    """Weights [N, 1, h, w] of at least 1, up to 1 + `gain` where one of the `SMALL` attributes shows.

    Pictures of one style and layout are one group. Within it, a pixel shows an attribute as far as the means of its
    values differ: the F statistic of a one-way analysis of variance over the latents [N, C, h, w], averaged over C.
    """
    groups: dict[tuple[str | None, ...], list[int]] = defaultdict(list)
    for index, portrait in enumerate(portraits):
        groups[portrait.style, *(portrait.attributes.get(name) for name in _LAYOUT)].append(index)
    maps = torch.ones(len(latents), 1, *latents.shape[2:], dtype=torch.float16)
    smooth = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    for indices in groups.values():
        values = [[portraits[index].attributes.get(name) for index in indices] for name in SMALL]
        shown = torch.stack([_variance_ratio(latents[indices].float(), row) for row in values])
        share = (shown / _CERTAIN).clamp(max=1.0).amax(0)
        maps[indices] = (1.0 + gain * smooth(share[None])).half()
    return maps


def _variance_ratio(latents: Tensor, values: Sequence[str | None]) -> Tensor:
    """Variance between the means of the values over that within, less the 1 of pure chance, [h, w]; 0 for one value."""
    rows: dict[str, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        if value is not None:
            rows[value].append(index)
    classes = [latents[chosen] for chosen in rows.values() if len(chosen) >= _LEAST]
    if len(classes) < 2:
        return torch.zeros(latents.shape[2:])
    everything = torch.cat(classes)
    middle = everything.mean(0)
    means = torch.stack([part.mean(0) for part in classes])
    sizes = torch.tensor([len(part) for part in classes]).view(-1, 1, 1, 1)
    between = (sizes * (means - middle).square()).sum(0) / (len(classes) - 1)
    inner = torch.cat([part - mean for part, mean in zip(classes, means, strict=True)])
    within = inner.square().sum(0) / (len(everything) - len(classes))
    ratio = between / (within + 1e-3)
    return (ratio.mean(0) - 1.0).clamp(min=0.0)

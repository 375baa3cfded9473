"""Pictures under a control, a batch at a time, each kept as it is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from components.artifact import replacing
from components.image.families.bundle import Bundle
from components.image.families.syntax import MAX_CHUNKS
from components.image.generation.control.networks import Control, Controlled
from components.image.generation.latent import Kind, initial_noise, last, sample, to_images


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn; `guidance` None: as distilled."""

    steps: int
    guidance: float | None
    kind: Kind = "ddim"
    batch_size: int = 8


@dataclass(frozen=True)
class Asked:
    """One picture: prompt, seed, and what the ControlNet is shown, [3, H, W] in [0, 1]."""

    prompt: str
    seed: int
    control: Tensor


def draw(
    bundle: Bundle,
    asked: Sequence[Asked],
    sampling: Sampling,
    net: Any | None,
    folder: Path,
    tell: Callable[[int], None] = lambda _: None,
) -> list[Image.Image]:
    """A picture of each; `net` None: as if there were no control. What lies in `folder` already is not drawn again.

    Args:
        tell: told how many more are done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{place:05}.png" for place in range(len(asked))]
    missing = [place for place, path in enumerate(paths) if not path.is_file()]
    tell(len(asked) - len(missing))
    for start in range(0, len(missing), sampling.batch_size):
        batch = missing[start : start + sampling.batch_size]
        for place, picture in zip(batch, _batch(bundle, [asked[row] for row in batch], sampling, net), strict=True):
            with replacing(paths[place]) as temporary:
                picture.save(temporary, "PNG", compress_level=1)
        tell(len(batch))
    return [Image.open(path).convert("RGB") for path in paths]


@torch.no_grad()
def _batch(bundle: Bundle, asked: Sequence[Asked], sampling: Sampling, net: Any | None) -> list[Image.Image]:
    prompts, seeds = [each.prompt for each in asked], [each.seed for each in asked]
    shown = torch.stack([each.control for each in asked]).to(bundle.device)
    chunks = min(bundle.chunks_for("", *prompts), MAX_CHUNKS)
    noise = initial_noise(bundle, seeds, *shown.shape[-2:])
    latents = sample(
        bundle,
        bundle.encode_prompts(prompts, chunks),
        bundle.encode_prompts([""], chunks),
        noise=noise,
        steps=sampling.steps,
        guidance=sampling.guidance,
        kind=sampling.kind,
        seeds=seeds,
        predict=None if net is None else Controlled(bundle, [Control(net, shown)]).predict,
    )
    return to_images(bundle.decode_latents(last(latents)))

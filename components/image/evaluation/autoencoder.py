"""What the autoencoder alone costs: held-out pictures through it and back."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from components.image.evaluation.metrics import Metrics, Panel, psnr
from components.image.families.bundle import load_bundle
from components.image.generation.latent import to_images
from components.image.recipe import EvaluateConfig
from components.statistics import Bootstrap


@torch.no_grad()
def reconstruction(config: EvaluateConfig, pictures: Sequence[Image.Image], panel: Panel | None) -> Metrics:
    """`vae.psnr` in dB; `vae.half_psnr`, of pictures of half the size from latents of half the size; what the judge
    scores the round trips with (`vae.soundness`). Nothing without pictures.

    A network that learns coarse before fine needs latents whose coarse half still means the picture (arXiv 2502.14831).
    """
    metrics = Metrics()
    if not pictures:
        return metrics
    bundle = load_bundle(config.model)
    whole, half = [], []
    round_trips: list[Image.Image] = []
    for picture in pictures:
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        latents = bundle.encode_images(pixels * 2 - 1)
        back = bundle.decode_latents(latents).cpu()
        whole.append(_psnr(pixels, back))
        half.append(_psnr(_halved(pixels), bundle.decode_latents(_halved(latents)).cpu()))
        round_trips += to_images(back)
    bootstrap = Bootstrap(len(pictures), config.bootstrap, config.seed)
    metrics.put("vae.psnr", bootstrap.mean(np.concatenate(whole)))
    metrics.put("vae.half_psnr", bootstrap.mean(np.concatenate(half)))
    if panel is not None:
        verdict = panel.judge.look(round_trips)
        for name, values in panel.judge.scores(verdict, [""] * len(pictures), np.asarray(verdict.features)).items():
            metrics.put(f"vae.{name}", bootstrap.mean(values))
    return metrics


def _halved(planes: Tensor) -> Tensor:
    return functional.avg_pool2d(planes, 2)


def _psnr(pixels: Tensor, back: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    height, width = min(pixels.shape[-2], back.shape[-2]), min(pixels.shape[-1], back.shape[-1])
    one, other = (planes[..., :height, :width].double().numpy() for planes in (pixels, back))
    return psnr(one, other)

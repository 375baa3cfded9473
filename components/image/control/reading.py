"""Trains the small network that reads key points: what a pose is measured with, and found in a given picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

from components.contracts import RunLog
from components.errors import DataError
from components.image.generation.control.keypoints import KeypointNetwork, KeypointReader, Reading, seen
from components.image.generation.control.pose import Keypoints
from components.training.loop import Loop, Plan

_BATCH = 32
_RATE = 2e-3
_SPREAD = 0.03
"""What a point's map may spread without cost, as a share of the side."""


def train_reader(
    pictures: Sequence[Path],
    faces: Sequence[Keypoints],
    steps: int,
    seed: int,
    out: Path,
    log: RunLog,
    fingerprint: str,
) -> KeypointReader:
    """A reader trained on pictures whose faces are known; resumes from `out`.

    Raises:
        DataError: there is no picture.
    """
    if not pictures:
        raise DataError("there is no picture with key points to learn from.", hint="Raise dataset.count.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = KeypointNetwork()
    shown = torch.stack([_read(path) for path in pictures])
    target = torch.from_numpy(np.stack([face.in_order for face in faces])).float()
    rest = torch.tensor([[*face.radii, float(face.mirrored)] for face in faces])

    def loss(_: int, generator: Generator) -> Tensor:
        rows = torch.randint(len(shown), (_BATCH,), generator=generator)
        reading = network(worsened(shown[rows], generator))
        return reading_loss(reading, target[rows], rest[rows])

    plan = Plan(steps, max(steps // 2, 1), _RATE, warmup_share=0.05, weight_decay=1e-4, seed=seed)
    network.train()
    loop = Loop(plan, network, dict(network.named_parameters()), out, log, fingerprint=fingerprint)
    loop.run(loss)
    return KeypointReader(network)


def reading_loss(reading: Reading, points: Tensor, rest: Tensor) -> Tensor:
    """Distance of the points [N, 5, 2] in shares, of the radii, and the cross-entropy of the side looked to."""
    places = (reading.points - points).abs().mean() * 10
    wide = (reading.spread - _SPREAD).clamp(min=0).mean()
    radii = (reading.radii.log() - rest[:, :2].log()).abs().mean()
    side = functional.binary_cross_entropy_with_logits(reading.mirrored, rest[:, 2])
    return places + wide + 0.3 * radii + 0.1 * side


def worsened(pictures: Tensor, generator: Generator) -> Tensor:
    """As generated pictures are: some blurred, a little noise, colours a little off."""
    blurred = functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = torch.rand(len(pictures), 1, 1, 1, generator=generator)
    noise = 0.08 * torch.randn(pictures.shape, generator=generator)
    tint = 0.1 * torch.randn(len(pictures), 3, 1, 1, generator=generator)
    return (pictures + share * (blurred - pictures) + noise + tint).clamp(-1, 1)


def _read(path: Path) -> Tensor:
    with Image.open(path) as picture:
        return seen(picture)

"""Key points read off a picture by a small network that was trained on pictures whose faces are known.

It says what a generated picture shows: its own error, on held-out pictures, stands beside every figure taken with it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from components.errors import ModelError
from components.image.generation.control.pose import POINTS, Keypoints

SIDE = 64
"""Side of what the network sees, pixels."""
MAPS = 32
UNSURE = 0.1
"""Spread of a point's map, as a share of the side, from which there is no face to speak of (evenly: 0.29)."""
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Reading:
    """Faces in N pictures: `points` [N, 5, 2] in the picture's order (see `Keypoints.in_order`), shares of the sides.

    `spread` [N]: mean standard deviation of the points' maps; `radii` [N, 2]; `mirrored` [N], a logit.
    """

    points: Tensor
    spread: Tensor
    radii: Tensor
    mirrored: Tensor

    def face(self, index: int) -> Keypoints:
        """One face, its leading side first."""
        left_first = self.points[index].double().numpy()
        order = [0, 1, 2, 3, 4] if float(self.mirrored[index]) > 0 else [1, 0, 3, 2, 4]
        across, down = left_first[1] - left_first[0]
        width, height = self.radii[index].tolist()
        return Keypoints(left_first[order], (width, height), float(np.degrees(np.arctan2(down, across))))


class KeypointNetwork(nn.Module):
    """A picture [N, 3, 64, 64] in [-1, 1] to a `Reading`: one map a point, whose mean is the point (1711.08229)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = _block(3, width, 2)
        self.second = _block(width, 2 * width, 2)
        self.third = nn.Sequential(_block(2 * width, 4 * width, 2), _block(4 * width, 4 * width))
        self.up_second = _block(6 * width, 2 * width)
        self.up_first = _block(3 * width, width)
        self.maps = nn.Conv2d(width, len(POINTS), 1)
        self.rest = nn.Linear(4 * width, 3)

    def forward(self, pictures: Tensor) -> Reading:
        """See the class."""
        fine = self.first(pictures)
        middle = self.second(fine)
        coarse = self.third(middle)
        joined = self.up_second(torch.cat([_doubled(coarse), middle], 1))
        maps = self.maps(self.up_first(torch.cat([_doubled(joined), fine], 1)))
        points, spread = means(maps)
        rest = self.rest(coarse.mean((2, 3)))
        return Reading(points, spread.mean(1), rest[:, :2].exp() * 0.25, rest[:, 2])


def means(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean places [N, K, 2] (x, y in [0, 1]) and standard deviations [N, K] of maps [N, K, h, w] after a softmax."""
    count, kinds, height, width = maps.shape
    shares = maps.flatten(2).softmax(-1).view(count, kinds, height, width)
    places = [(torch.arange(side, device=maps.device) + 0.5) / side for side in (width, height)]
    across, down = shares.sum(2), shares.sum(3)
    mean = torch.stack([(across * places[0]).sum(-1), (down * places[1]).sum(-1)], -1)
    square = torch.stack([(across * places[0] ** 2).sum(-1), (down * places[1] ** 2).sum(-1)], -1)
    return mean, (square - mean**2).clamp(min=1e-8).mean(-1).sqrt()


class KeypointReader:
    """A trained network."""

    def __init__(self, network: KeypointNetwork) -> None:
        self.network = network.eval()

    @torch.no_grad()
    def read(self, pictures: list[Image.Image], batch: int = 64) -> list[tuple[Keypoints, float]]:
        """Of each picture its face and the spread, which is above `UNSURE` where none is to be seen."""
        found: list[tuple[Keypoints, float]] = []
        for start in range(0, len(pictures), batch):
            reading = self.network(torch.stack([seen(picture) for picture in pictures[start : start + batch]]))
            found += [(reading.face(row), float(reading.spread[row])) for row in range(len(reading.points))]
        return found

    def save(self, folder: Path) -> None:
        """Weights in float16, and the width."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.half().contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, folder / _WEIGHTS)
        (folder / _WEIGHTS).chmod(0o644)
        width = self.network.maps.in_channels
        (folder / _CONFIG).write_text(json.dumps({"width": width}) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "KeypointReader":
        """Raises ModelError where nothing readable lies there."""
        try:
            width = int(json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["width"])
            network = KeypointNetwork(width)
            network.load_state_dict({name: value.float() for name, value in load_file(folder / _WEIGHTS).items()})
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"no key points can be read with {str(folder)!r}: {reason}.",
                hint="Train a pose ControlNet (`kyara produce control-pose`), or give the pose itself.",
            ) from error
        return cls(network)


def seen(picture: Image.Image) -> Tensor:
    """A picture as the network sees it, [3, 64, 64] in [-1, 1]."""
    small: Any = np.array(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
    return torch.from_numpy(small).permute(2, 0, 1).float() / 127.5 - 1


def _block(before: int, after: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(4, after), nn.SiLU())


def _doubled(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, scale_factor=2.0, mode="bilinear")

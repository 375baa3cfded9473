"""Looks at pictures: which attributes, which style, which features. Inference only.

One small convolutional network with a head per attribute and one for the style, trained by
`components.portraits.world.judge_training`.
The features before the heads measure distances between sets of pictures (KID) and to single pictures (copying).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from components.errors import ModelError

STYLE = "style"
"""The head that names the drawing style; it lies beside the attributes of the vocabulary."""

GLANCES = 2
"""Places of the early map that each head looks at."""
_SMOOTHING = 0.1
"""Deviation of the noise under which gradients are averaged, of pixels in [-1, 1]."""

Pictures = Sequence[Image.Image] | NDArray[np.uint8]


@dataclass(frozen=True)
class Verdict:
    """What the judge saw in N pictures.

    attributes: attribute -> value of each picture, [N] of str; asked of every style, so mask with `vocabulary.shows`.
    probabilities: head -> [N, V] float32, values in the order of `Judge.heads`; includes the style.
    style: [N] of str.
    features: [N, D] float32.
    """

    attributes: Mapping[str, NDArray[np.str_]]
    probabilities: Mapping[str, NDArray[np.float32]]
    style: NDArray[np.str_]
    features: NDArray[np.float32]


class JudgeNetwork(nn.Module):
    """[N, 3, size, size] in [-1, 1] -> features [N, D] -> logits per head.

    The last map is pooled to 4x4 and flattened, not averaged away: position, tilt and facing are questions of where.
    A mouth or an earring is a few pixels, gone long before that: each head also looks at an early map, of cells of
    8x8 pixels, at places of its own choice.
    """

    def __init__(self, heads: Mapping[str, Sequence[str]], width: int = 32, features: int = 128) -> None:
        super().__init__()
        wide = 4 * width
        self.early = nn.Sequential(
            nn.Conv2d(3, width, 7, stride=2, padding=3),
            nn.GELU(),
            *_halved(width, 2 * width),
            *_halved(2 * width, wide),
            _Residual(wide),
        )
        self.late = nn.Sequential(
            *_halved(wide, wide),
            *_halved(wide, wide),
            nn.Conv2d(wide, features, 1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.neck = nn.Sequential(nn.Linear(16 * features, features), nn.LayerNorm(features), nn.GELU())
        self.glances = nn.Parameter(torch.zeros(len(heads), GLANCES, wide))
        nn.init.normal_(self.glances, std=wide**-0.5)
        self.heads = nn.ModuleDict(
            {head: nn.Linear(features + GLANCES * wide, len(values)) for head, values in heads.items()}
        )

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        early = self.early(images)
        features = self.neck(self.late(early))
        cells = early.flatten(2)
        places = torch.einsum("hgc,ncp->nhgp", self.glances, cells).softmax(-1)
        seen = torch.einsum("nhgp,ncp->nhgc", places, cells).flatten(2)
        return features, {
            head: layer(torch.cat([features, seen[:, place]], 1))
            for place, (head, layer) in enumerate(self.heads.items())
        }


def _halved(before: int, after: int) -> list[nn.Module]:
    """Half the size, then what is to be seen there."""
    return [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.GELU(), _Residual(after)]


class _Residual(nn.Module):
    """x + branch(x), the identity at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        norm = nn.GroupNorm(8, width)
        nn.init.zeros_(norm.weight)
        self.branch = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), norm, nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.branch(x)
        return result


class Judge:
    """A trained judge. `digest` names it (metrics of two judges do not compare).

    accuracy: head -> share of right answers on held-out renders.
    table: `renders` and `round_trips` (through the autoencoder) -> style -> head -> share of right answers.
    """

    def __init__(self, network: JudgeNetwork, config: Mapping[str, Any], digest: str) -> None:
        self.network = network.eval()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.heads: dict[str, tuple[str, ...]] = {head: tuple(values) for head, values in config["heads"].items()}
        self.size: int = config["size"]
        self.accuracy: dict[str, float] = dict(config["accuracy"])
        self.table: dict[str, dict[str, dict[str, float]]] = config.get("table", {})
        self.digest = digest

    @property
    def mean_accuracy(self) -> float:
        """Mean over the heads of the accuracy on held-out renders."""
        return float(np.mean(list(self.accuracy.values())))

    @property
    def worst(self) -> tuple[float, str]:
        """The least accuracy of any head at any style, on renders and on round trips, and where that is."""
        cells = [
            (value, f"{head} of {style} ({pictures})")
            for pictures, styles in self.table.items()
            for style, heads in styles.items()
            for head, value in heads.items()
        ]
        return min(cells, default=(float("nan"), ""))

    @classmethod
    def load(cls, path: Path) -> "Judge":
        """Read `config.json` and `model.safetensors` from the folder `path`.

        Raises:
            ModelError: the folder is no judge, or it is damaged.
        """
        try:
            config = json.loads((path / "config.json").read_text(encoding="utf-8"))
            network = JudgeNetwork(config["heads"], config["width"], config["features"])
            network.load_state_dict(
                {name: value.float() for name, value in load_file(path / "model.safetensors").items()}
            )
            return cls(network, config, _digest(path))
        except Exception as error:
            raise ModelError(
                f"No usable judge in {str(path)!r}: {type(error).__name__}: {error}",
                hint="Run `dvc pull`, or make one with `python -m flows.embedded`.",
            ) from error

    @torch.inference_mode()
    def look(self, images: Pictures, batch: int = 64) -> Verdict:
        """Judge pictures of any size; they are brought to the judge's own first."""
        if len(images) == 0:
            raise ModelError("The judge was asked to look at no picture.", hint="Pass one picture or more.")
        parts = [self._look(images[start : start + batch]) for start in range(0, len(images), batch)]
        features = np.concatenate([part[0] for part in parts])
        probabilities = {head: np.concatenate([part[1][head] for part in parts]) for head in self.heads}
        named = {head: np.asarray(self.heads[head])[table.argmax(1)] for head, table in probabilities.items()}
        style = named.pop(STYLE)
        return Verdict(named, probabilities, style, features)

    def saliency(self, image: Image.Image, asked: Mapping[str, str], draws: int = 8) -> NDArray[np.float32]:
        """Which pixels decide what the heads say, [H, W] in [0, 1]: SmoothGrad (arXiv 1706.03825).

        Args:
            asked: head -> a value of it; the gradient is of how far that value lies above the likeliest other one.
            draws: noisy copies over which gradients are averaged.

        Raises:
            ModelError: an unknown head or value.
        """
        wrong = [f"{head}={value}" for head, value in asked.items() if value not in self.heads.get(head, ())]
        if wrong or not asked:
            raise ModelError(f"the judge has no head for {wrong or asked!r}.", hint=f"Known: {', '.join(self.heads)}.")
        pixels = as_tensor([image], self.size).expand(draws, -1, -1, -1)
        pixels = pixels + _SMOOTHING * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
        gradient = self._gradient(pixels.to(next(self.network.parameters()).device), asked)
        found = gradient.abs().amax(1).mean(0)[None, None].cpu()
        found = functional.interpolate(found, (image.height, image.width), mode="bilinear", align_corners=False)[0, 0]
        return np.asarray(found / found.max().clamp_min(1e-12), np.float32)

    def _gradient(self, pixels: Tensor, asked: Mapping[str, str]) -> Tensor:
        with torch.enable_grad():
            pixels = pixels.detach().requires_grad_()
            _, logits = self.network(pixels)
            total = torch.zeros((), device=pixels.device)
            for head, value in asked.items():
                own = torch.tensor([name == value for name in self.heads[head]], device=pixels.device)
                others = logits[head].masked_fill(own, -torch.inf).amax(1)
                total = total + (logits[head][:, own].squeeze(1) - others).sum()
            return torch.autograd.grad(total, pixels)[0]

    def _look(self, images: Pictures) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        device = next(self.network.parameters()).device
        features, logits = self.network(as_tensor(images, self.size).to(device))
        return features.float().cpu().numpy(), {
            head: value.softmax(1).float().cpu().numpy() for head, value in logits.items()
        }


def as_tensor(images: Pictures, size: int) -> Tensor:
    """Pictures to float [N, 3, size, size] in [-1, 1], channels last."""
    if isinstance(images, np.ndarray):
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
        if pixels.shape[-2:] != (size, size):
            pixels = functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True, align_corners=False)
    else:
        resized = [np.asarray(_sized(image.convert("RGB"), size)) for image in images]
        pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float()
    return pixels.div(127.5).sub(1.0).contiguous(memory_format=torch.channels_last)


def _sized(image: Image.Image, size: int) -> Image.Image:
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.LANCZOS)


def _digest(path: Path) -> str:
    return hashlib.sha256((path / "config.json").read_bytes() + (path / "model.safetensors").read_bytes()).hexdigest()

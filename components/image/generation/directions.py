"""Attribute directions in latents, learnt from labelled pictures, and kept as sliders in one safetensors file.

`ridge` regresses latents on all labels at once (one-hot, penalised), so that what two attributes share is counted once;
`mean` is the difference between pictures of a value and pictures of its attribute's other values.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from components.artifact import replacing
from components.errors import DataError, RequestError

Method = Literal["mean", "ridge"]
METHODS: tuple[Method, ...] = get_args(Method)
Labels = Mapping[str, str]
PENALTY = 1.0
"""Of the ridge regression, in pictures: a value that fewer show is pulled to nothing."""
_FORMAT = "kyara-directions-1"


@dataclass(frozen=True)
class Directions:
    """`sliders`: `attribute=value` -> direction [C, h, w]; a step of 1 goes from the other values' mean to this one's.

    `base` names the model whose latents they are of.
    """

    sliders: Mapping[str, Tensor]
    base: str
    method: Method
    count: int

    def step(self, amounts: Mapping[str, float], latents: Tensor) -> Tensor:
        """What is added to latents [B, C, h, w]; directions are enlarged to a picture of another size.

        Raises:
            RequestError: an unknown slider.
        """
        unknown = sorted(set(amounts) - set(self.sliders))
        if unknown:
            raise RequestError(f"slider {unknown[0]!r} is unknown.", hint=f"Known: {', '.join(self.sliders)}.")
        total = torch.zeros(1, *latents.shape[1:], dtype=latents.dtype, device=latents.device)
        for name, amount in amounts.items():
            total += amount * _sized(self.sliders[name].to(latents), latents.shape[-2:])
        return total

    def save(self, path: Path) -> None:
        """One safetensors file, in half precision."""
        facts = {"format": _FORMAT, "base": self.base, "method": self.method, "count": str(self.count)}
        with replacing(path) as temporary:
            save_file({name: value.half().contiguous() for name, value in self.sliders.items()}, temporary, facts)

    @classmethod
    def load(cls, path: Path, shape: Sequence[int]) -> "Directions":
        """Sliders for a model whose latents have `shape` [C, h, w] at its own size.

        Raises:
            DataError: the file cannot be read, or is of another model's latents.
        """
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                sliders = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        except Exception as error:  # safetensors raises several kinds
            raise DataError(f"sliders {str(path)!r} cannot be read: {error}.") from error
        method = facts.get("method", "")
        if facts.get("format") != _FORMAT or method not in METHODS or not sliders:
            raise DataError(f"{str(path)!r} holds no sliders.", hint="Make them with `kyara directions`.")
        found = {tuple(value.shape) for value in sliders.values()}
        if found != {tuple(shape)}:
            raise DataError(
                f"sliders {str(path)!r} have shapes {sorted(found)}; this model's latents have {tuple(shape)}.",
                hint="Make them with `kyara directions` on this model.",
            )
        return cls(sliders, facts.get("base", ""), method, int(facts.get("count", 0)))


def learn(
    latents: Tensor, labels: Sequence[Labels], *, base: str, method: Method = "ridge", least: int = 4
) -> Directions:
    """Directions of latents [N, C, h, w] with the labels of each; a picture may leave an attribute unsaid.

    Args:
        base: name of the model.
        least: pictures that must show a value, and others of its attribute, for a slider.

    Raises:
        DataError: no attribute has two values with enough pictures.
    """
    values = _values(labels, least)
    if not values:
        raise DataError(
            f"{len(labels)} labelled pictures are too few for a slider.",
            hint=f"Expected an attribute with two values, each in at least {least} pictures.",
        )
    flat = latents.detach().float().cpu().flatten(1)
    steps = _means(flat, labels, values) if method == "mean" else _ridge(flat, labels, values)
    shape = latents.shape[1:]
    return Directions({name: step.view(shape) for name, step in steps.items()}, base, method, len(labels))


def _values(labels: Sequence[Labels], least: int) -> dict[str, list[str]]:
    """Attributes of which at least two values are shown by enough pictures, with those values."""
    counts: dict[str, dict[str, int]] = {}
    for one in labels:
        for attribute, value in one.items():
            counts.setdefault(attribute, {}).setdefault(value, 0)
            counts[attribute][value] += 1
    enough = {name: sorted(value for value, n in found.items() if n >= least) for name, found in counts.items()}
    return {name: found for name, found in sorted(enough.items()) if len(found) > 1}


def _means(flat: Tensor, labels: Sequence[Labels], values: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    found = {}
    for attribute, known in values.items():
        told = [one.get(attribute) for one in labels]
        for value in known:
            shown = torch.tensor([each == value for each in told])
            others = torch.tensor([each in known and each != value for each in told])
            found[f"{attribute}={value}"] = flat[shown].mean(0) - flat[others].mean(0)
    return found


def _ridge(flat: Tensor, labels: Sequence[Labels], values: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """W = (X'X + penalty I)^-1 X'Y of centred one-hot labels X; a slider is its row less the other values' mean row."""
    names = [(attribute, value) for attribute, known in values.items() for value in known]
    x = torch.tensor([[float(one.get(attribute) == value) for attribute, value in names] for one in labels])
    x = x - x.mean(0)
    weights = torch.linalg.solve(x.T @ x + PENALTY * torch.eye(len(names)), x.T @ (flat - flat.mean(0)))
    rows = dict(zip(names, weights, strict=True))
    return {
        f"{attribute}={value}": row - _mean(rows[attribute, other] for other in values[attribute] if other != value)
        for (attribute, value), row in rows.items()
    }


def _mean(rows: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(rows)).mean(0)


def _sized(direction: Tensor, size: Sequence[int]) -> Tensor:
    """[1, C, h, w] at the size of the latents."""
    if direction.shape[-2:] == tuple(size):
        return direction[None]
    return functional.interpolate(direction[None], tuple(size), mode="bilinear", align_corners=False)

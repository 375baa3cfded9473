"""Muon for inner convolutions and matrices, AdamW for the rest: for networks that are trained from scratch."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """About the nearest (semi-)orthogonal matrix, by quintic Newton-Schulz (Jordan 2024, "Muon").

    X <- (a + b G + c G^2) X with G = X X^T, written as a product Q of polynomials in G: G is small where X is wide.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    gram = x @ x.T
    product = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product, gram = factor @ product, factor @ gram @ factor
    result: Tensor = product @ x
    return result.T if tall else result


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for convolutions [out, in, k, k] seen as matrices [out, in k k].

    torch.optim.Muon takes matrices only. The autoencoder had 27.5 dB after 1,200 steps, 26.0 with AdamW; the UNet,
    going on from step 1,371, a loss of 0.365 after 120 steps on the same batches, 0.378 with AdamW.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"], group["momentum"])

    def _update(self, parameter: Tensor, gradient: Tensor, lr: float, momentum: float) -> None:
        state = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(parameter)
        average = state["average"].lerp_(gradient, 1.0 - momentum)
        update = orthogonal(gradient.lerp(average, momentum).flatten(1))
        scale = 0.2 * math.sqrt(
            max(update.shape)
        )  # the entries' size is then that of an AdamW update (arXiv 2502.16982, eq. 4)
        parameter.add_(update.reshape(parameter.shape), alpha=-lr * scale)


def muon_and_adam(module: nn.Module, muon: float, adam: float) -> list[torch.optim.Optimizer]:
    """Muon for inner convolutions and wide matrices; AdamW for edges, tables, norms and biases."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    inner = [
        parameter
        for parameter in trained
        if parameter.ndim > 1 and min(parameter.shape[:2]) > 15 and id(parameter) not in tables
    ]
    chosen = {id(parameter) for parameter in inner}
    rest = [parameter for parameter in trained if id(parameter) not in chosen]
    return [Muon(inner, muon), torch.optim.AdamW(rest, adam, betas=(0.9, 0.99), weight_decay=0.0)]

"""Muon's update, by its singular values."""

import torch

from components.training.optimizers import orthogonal


def test_orthogonal_has_singular_values_near_one() -> None:
    values = torch.linalg.svdvals(orthogonal(torch.randn(6, 20, generator=torch.Generator().manual_seed(0)), 8))
    assert values.min() > 0.6
    assert values.max() < 1.3

"""Distillation: a character model that needs four steps instead of twenty (latent consistency models)."""

from components.image.distillation.stage import distill

__all__ = ["distill"]

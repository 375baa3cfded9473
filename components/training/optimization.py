"""What every training can be told of its optimizer steps: the part that the sections of all recipes share. No torch."""

from typing import Literal

from pydantic import Field

from components.recipe import Count, Frozen, Share


class OptimizationSection(Frozen):
    """Fields of a recipe's section; a section sets defaults of its own by declaring a field again."""

    batch_size: Count = 4
    accumulation: Count = Field(1, description="Batches whose gradients are summed before one optimizer step.")
    learning_rate: float = Field(1e-4, gt=0)
    warmup_share: Share = Field(0.05, description="Share of all steps in which the learning rate rises.")
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(1e-2, ge=0)
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    checkpoint_every: Count = Field(250, description="Steps between sealed checkpoints.")
    keep_checkpoints: int = Field(2, ge=2, description="Resumable checkpoints kept.")

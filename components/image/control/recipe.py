"""Everything that a ControlNet can be told: what steers it, its base, and a section for each stage."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from components.image.recipe import DatasetConfig, DatasetSection, ModelConfig
from components.plugins import dotted
from components.recipe import Count, Frozen, OptimizationSection, Recipe, Share, StepConfig

Kind = Literal["sketch", "pose"]


class ControlDatasetSection(DatasetSection):
    """Pictures with what steers them: a folder of one's own, or a world that draws as many as are asked for."""

    source: str | None = Field(  # type: ignore[assignment]
        None,
        description="Folder of pictures and captions; for poses each has its key points in <name>.pose.json. null: the "
        "examples' own.",
    )
    count: Count = Field(4000, description="Pictures that the recipe's examples draw for training.")
    held_out: Count = Field(128, description="Pictures that they draw for measuring, of what training never sees.")
    read_groups: tuple[str, ...] = Field(
        (), description="Further groups (styles) whose key points are learnt to be read, and which nothing else sees."
    )
    read_count: int = Field(0, ge=0, description="Pictures of `read_groups`.")


class ControlTrainSection(OptimizationSection):
    """Training of a ControlNet beside a frozen base (arXiv 2302.05543)."""

    steps: Count = Field(3000, description="Optimizer steps.")
    batch_size: Count = 16
    learning_rate: float = Field(5e-4, gt=0)
    warmup_share: Share = 0.03
    min_snr_gamma: float | None = Field(5.0, gt=0, description="Min-SNR loss weighting (arXiv 2303.09556); null: off.")
    empty_caption_share: Share = Field(
        0.5, description="Share of empty captions, so that the picture must be learnt from the control (section 3.4)."
    )
    timesteps: Literal["uniform", "logit_normal"] | tuple[float, ...] = Field(
        "uniform", description="How often timesteps are trained, as for a LoRA."
    )
    checkpoint_every: Count = Field(500, description="Steps between sealed checkpoints.")
    samples: int = Field(8, ge=0, description="Pictures of the sample sheet at each checkpoint.")
    sample_steps: Count = 20
    guidance: float = Field(4.0, ge=1, description="Guidance scale of samples.")
    reader_steps: int = Field(
        2000, ge=0, description="Steps of the small network that reads key points off a picture (poses only)."
    )


class ControlEvaluateSection(Frozen):
    """Pictures of held-out examples with and without the ControlNet, at equal prompts and seeds."""

    count: Count = Field(64, description="Held-out examples that are drawn.")
    steps: Count = 20
    guidance: float = Field(4.0, ge=1)
    batch_size: Count = 8
    bootstrap: int = Field(1000, ge=100, description="Resamples behind each interval.")
    student: str | None = Field(
        None, description="Folder of a distilled promoted model on the same base, to compare with; null: none."
    )


class ControlStep(StepConfig):
    """What every stage is told."""

    kind: Kind
    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    examples: str | None = None

    def sources(self) -> dict[str, str]:
        return {"base": self.model.base}

    def plugins(self) -> tuple[str, ...]:
        return () if self.examples is None else (dotted("examples", self.examples),)


class ControlDatasetConfig(ControlStep, ControlDatasetSection):
    """What the dataset stage gets."""

    def sources(self) -> dict[str, str]:
        return super().sources() if self.source is None else self.pictures().sources()

    def pictures(self) -> DatasetConfig:
        """As the dataset stage for pictures is told of a folder."""
        known = {name: getattr(self, name) for name in DatasetSection.model_fields}
        return _Pictures(seed=self.seed, model=self.model, **known)


class _Pictures(DatasetConfig):
    """A ControlNet calls no character."""

    trigger: str = ""


class ControlTrainConfig(ControlStep, ControlTrainSection):
    """What the train stage gets."""


class ControlEvaluateConfig(ControlStep, ControlEvaluateSection):
    """What the evaluate stage gets."""

    def sources(self) -> dict[str, str]:
        return {**super().sources(), **({} if self.student is None else {"student": self.student})}


class ControlRecipe(Recipe):
    """One ControlNet."""

    configs: ClassVar[Mapping[str, type[StepConfig]]] = {
        "dataset": ControlDatasetConfig,
        "train": ControlTrainConfig,
        "evaluate": ControlEvaluateConfig,
    }

    modality: Literal["control"] = "control"
    kind: Kind = Field(description="What steers: sketch (white lines on black) or pose (a figure of the face).")
    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    examples: str | None = Field(
        None, description="Who draws pictures with known faces: portraits, or package.module:function; null: nobody."
    )
    dataset: ControlDatasetSection = Field(default_factory=lambda: ControlDatasetSection())
    train: ControlTrainSection = Field(default_factory=lambda: ControlTrainSection())
    evaluate: ControlEvaluateSection = Field(default_factory=lambda: ControlEvaluateSection())

    @model_validator(mode="after")
    def _pictures_from_somewhere(self) -> Self:
        if (self.dataset.source is None) == (self.examples is None):
            raise ValueError("pictures come from dataset.source or from examples: set one of them, not both")
        return self

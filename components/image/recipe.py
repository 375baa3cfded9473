"""Everything that a picture model can be told: its base, and a section for each stage.

Defaults are those of a user's own character on Stable Diffusion 1.5: nobody judges the pictures, and captions stand in
for prompt sets. A world of one's own (`components.portraits`) plugs in judge, prompt sets and reader by name.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from components.plugins import dotted
from components.recipe import (
    Bound,
    Count,
    Frozen,
    OptimizationSection,
    PackageConfig,
    PromoteConfig,
    Recipe,
    Share,
    StepConfig,
)
from components.settings import PromptClient


class ModelConfig(Frozen):
    """The base model that everything is trained on."""

    family: Literal["sd15", "sdxl"] = Field("sd15", description="Architecture.")
    base: str = Field(
        "stable-diffusion-v1-5/stable-diffusion-v1-5", description="Folder in diffusers format, or a hub id."
    )
    revision: str | None = Field(None, description="Hub revision (commit or tag) of the base.")
    resolution: int = Field(512, ge=32, le=2048, multiple_of=8, description="Side of a training picture, pixels.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of frozen weights; auto: bfloat16 on a GPU (float16 before Ampere), float32 on a CPU "
        "(training steps in bfloat16 where the processor multiplies in it).",
    )


class JudgeConfig(Frozen):
    """Who looks at the pictures, and what they should look like in the judge's own words."""

    plugin: str = Field(description="Name of the judge: clip, portraits, or package.module:function of one's own.")
    folder: str | None = Field(None, description="The judge's files: a folder, for clip also a hub id.")
    reference: str | None = Field(None, description="Features of held-out true pictures; null: no KID, no copying.")
    style: str = Field("", description="Style that the trained model should draw.")
    base_styles: tuple[str, ...] = Field(
        (), description="Styles that the base is asked for in turn, to compare with; none: the bare prompt."
    )


class DatasetSection(Frozen):
    """A folder of pictures to verified, deduplicated, captioned, cached training data."""

    source: str = Field(description="Folder of pictures, with sidecar .txt captions or metadata.jsonl.")
    min_side: int = Field(384, ge=1, description="Pictures with a shorter side below this are dropped, pixels.")
    max_pixels: int = Field(100_000_000, ge=1, description="Pictures above this are refused before they are decoded.")
    duplicate_distance: int = Field(
        3,
        ge=0,
        le=64,
        description="Pictures whose perceptual hashes (64 bits) are this near are compared; of copies the largest "
        "stays.",
    )
    require_captions: bool = Field(
        False, description="Drop pictures without a caption instead of using the trigger alone."
    )
    buckets: bool = Field(True, description="Group pictures by aspect ratio instead of cropping all to a square.")
    background: tuple[int, int, int] = Field((255, 255, 255), description="Colour behind transparent pictures, RGB.")
    validation_share: Share = Field(0.05, description="Share of pictures kept out of training for the validation loss.")
    tag_shuffles: Count = Field(4, description="Caption variants (tags shuffled) whose text embeddings are cached.")
    license: str | None = Field(
        None, description="Licence of pictures that state none of their own; null: what provenance.json says."
    )
    masks: str | None = Field(
        None,
        description="Where the loss counts: alpha (of the pictures), or a folder of grey pictures of the same names "
        "(white counts); null: everywhere.",
    )


class TrainSection(OptimizationSection):
    """LoRA training of the denoiser (Hu et al., arXiv 2106.09685)."""

    rank: int = Field(32, ge=1, le=512, description="Rank of the LoRA matrices.")
    alpha: float = Field(
        16, gt=0, description="LoRA scale is alpha / rank; half the rank is the step size of rank 16 with more room."
    )
    targets: Literal["attention", "all"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        "attention",
        description="Layers that get a LoRA: attention, all (and feed-forward, convolutions), or ends of module names.",
    )
    epochs: Count = Field(20, description="Passes over the pictures.")
    min_snr_gamma: float | None = Field(5.0, gt=0, description="Min-SNR loss weighting (arXiv 2303.09556); null: off.")
    empty_caption_share: Share = Field(0.1, description="Share of captions replaced by the empty one, for guidance.")
    gradient_checkpointing: bool = Field(False, description="Compute activations twice to save memory.")
    checkpoint_every: Count = Field(5, description="Epochs between sealed checkpoints.")
    keep_checkpoints: int = Field(
        4, ge=2, description="Resumable checkpoints kept; adapters of all are kept for the choice."
    )
    samples: int = Field(8, ge=0, description="Pictures of the sample grid drawn at each checkpoint.")
    sample_steps: Count = 25
    guidance: float = Field(7.5, ge=1, description="Guidance scale of samples.")
    select_prompts: int = Field(
        24, ge=0, description="Prompts of the select set that choose the best checkpoint; 0: lowest validation loss."
    )
    export_dtype: Literal["float32", "float16"] = Field(
        "float16", description="Precision of the exported adapter files; A1111 and ComfyUI expect float16."
    )
    timesteps: Literal["uniform", "logit_normal"] | Annotated[tuple[float, ...], Field(min_length=1)] = Field(
        "uniform",
        description="How often timesteps are trained: uniform, logit_normal (the middle most, arXiv 2403.03206), or "
        "shares of equal parts of the schedule, from clean to noise.",
    )
    outside_mask: Share = Field(0.0, description="Weight of the loss outside a picture's mask, where there are masks.")

    @field_validator("timesteps")
    @classmethod
    def _shares(cls, value: Any) -> Any:
        if isinstance(value, tuple) and (min(value) < 0 or sum(value) <= 0):
            raise ValueError("shares must not be negative, and one must be above 0")
        return value


class DistillSection(OptimizationSection):
    """Latent consistency distillation (Luo et al., arXiv 2310.04378 and 2311.05556)."""

    mode: Literal["lora", "full"] = Field(
        "lora", description="LCM-LoRA on top of the character LoRA, or all weights with embedded guidance."
    )
    rank: int = Field(64, ge=1, le=512, description="Rank of the LCM-LoRA.")
    alpha: float = Field(64, gt=0)
    steps: Count = Field(1000, description="Optimizer steps.")
    batch_size: Count = 8
    weight_decay: float = Field(0.0, ge=0)
    guidance: tuple[float, float] = Field(
        (4.0, 8.0),
        description="Range of the usual guidance scale that is distilled (w + 1 of the paper); the reference's 16 "
        "over-exposes.",
    )
    ddim_steps: int = Field(
        50, ge=4, le=1000, description="Steps of the teacher's DDIM solver over the whole schedule."
    )
    huber_c: float = Field(0.001, gt=0, description="c of the pseudo-Huber loss.")
    timestep_scaling: float = Field(10.0, gt=0, description="s = scaling * t in the boundary condition.")
    ema_decay: float = Field(0.95, ge=0, lt=1, description="Target network of full distillation.")
    empty_prompt_share: Share = Field(0.1, description="Share of prompts replaced by the empty one.")
    served_steps: Count = Field(4, description="Steps of a picture unless a request says otherwise.")
    served_timesteps: tuple[int, ...] | None = Field(
        None, description="Timesteps that the served steps are taken at, falling; null: spread evenly, 999 first."
    )
    path_share: Share = Field(
        0.0, description="Share of batches that learn from whole teacher paths instead of one solver step."
    )
    paths: Count = Field(
        64, description="Teacher pictures whose paths are walked beforehand, where path_share is above 0."
    )
    path_steps: Count = Field(16, description="Solver steps of a path from pure noise to a picture.")
    first_share: Share = Field(
        0.5, description="Share of path points that begin a path, as the served steps' inputs do."
    )
    on_policy_from: Share = Field(
        1.0, description="Share of the steps after which paths begin at the student's own pictures; 1: never."
    )
    adversarial: float = Field(
        0.0,
        ge=0,
        description="Weight of a discriminator that compares the student's lines with the dataset's; 0: none.",
    )
    adversarial_from: Share = Field(0.5, description="Share of the steps after which the discriminator begins.")
    samples: int = Field(8, ge=0, description="Pictures of the sample grid.")
    gradient_checkpointing: bool = Field(False, description="Compute activations twice to save memory.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.guidance
        if not 1 <= low <= high:
            raise ValueError(f"guidance {self.guidance} must be two numbers, 1 <= low <= high")
        if self.served_timesteps is not None:
            falling = sorted(set(self.served_timesteps), reverse=True)
            if list(self.served_timesteps) != falling or len(falling) != self.served_steps or min(falling) < 1:
                raise ValueError(
                    f"served_timesteps {self.served_timesteps} must be {self.served_steps} falling numbers above 0"
                )
        return self


class EvaluateSection(Frozen):
    """Base, LoRA and LCM side by side, equal prompts and seeds."""

    count: Count = Field(32, description="Prompts of the report set for base, LoRA and the main LCM step count.")
    calibrate_count: int = Field(
        128, ge=0, description="Pictures of the calibrate set that the confidence of prompts is learnt from; 0: none."
    )
    prompts_client: PromptClient = Field(
        "lexicon", description="Who reads prompts, here and where settings name nobody; keys alone call nobody."
    )
    attacked_count: Count = Field(24, description="Prompts of the report set that are attacked and rescued.")
    other_count: Count = Field(8, description="Prompts for the other step counts.")
    short_count: int = Field(
        0, ge=0, description="Prompts of one or two attributes, as people type them; 0: none are measured."
    )
    lcm_steps: tuple[Count, ...] = Field((1, 2, 4, 8, 20), description="Step counts of the student.")
    main_steps: Count = Field(4, description="The student's step count that is served.")
    teacher_steps: Count = Field(25, description="Steps of base and LoRA.")
    guidance: float = Field(7.5, ge=1)
    batch_size: Count = 4
    timing_runs: int = Field(15, ge=3, description="Interleaved runs of each speed metric.")
    bootstrap: int = Field(1000, ge=100, description="Resamples behind each interval.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.main_steps not in self.lcm_steps:
            raise ValueError(f"main_steps {self.main_steps} must be one of lcm_steps {self.lcm_steps}")
        if self.other_count > self.count:
            raise ValueError(f"other_count {self.other_count} must not exceed count {self.count}")
        return self


class ImagePackage(PackageConfig):
    """The champion as a Bento, and what its networks run on."""

    engine: Literal["auto", "eager", "openvino", "compiled"] = Field(
        "auto", description="auto: OpenVINO on a CPU, compiled on a GPU."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where its error stays in bounds."
    )
    max_error: float = Field(0.05, gt=0, description="Largest relative error of bfloat16 latents that is accepted.")
    parallel: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Pictures at once, their steps in batches; null: 8 in plain torch on a GPU, else 1.",
    )


class ImageStep(StepConfig):
    """What every stage for pictures is told."""

    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    trigger: str = Field(min_length=1, max_length=64, description="Word that calls the character or style.")

    def sources(self) -> dict[str, str]:
        return {"base": self.model.base}


class Prompted(ImageStep):
    """A stage that draws prompts with known answers."""

    prompts: str | None = None

    def sources(self) -> dict[str, str]:
        return {**super().sources(), **({} if self.prompts is None else {"prompts": self.prompts})}


class Judged(Prompted):
    """A stage whose pictures are judged."""

    judge: JudgeConfig | None = None

    def sources(self) -> dict[str, str]:
        folder = None if self.judge is None else self.judge.folder
        return {**super().sources(), **({} if folder is None else {"judge": folder})}

    def plugins(self) -> tuple[str, ...]:
        return () if self.judge is None else (dotted("judge", self.judge.plugin),)


class DatasetConfig(ImageStep, DatasetSection):
    """What the dataset stage gets."""

    def sources(self) -> dict[str, str]:
        masks = {} if self.masks in (None, "alpha") else {"masks": self.masks}
        return {**super().sources(), "data": self.source, **masks}


class TrainConfig(Judged, TrainSection):
    """What the train stage gets."""


class DistillConfig(Prompted, DistillSection):
    """What the distill stage gets."""


class EvaluateConfig(Judged, EvaluateSection):
    """What the evaluate stage gets."""

    reader: str | None = None

    def sources(self) -> dict[str, str]:
        reference = None if self.judge is None else self.judge.reference
        return {**super().sources(), **({} if reference is None else {"reference": reference})}

    def plugins(self) -> tuple[str, ...]:
        return (*super().plugins(), *(() if self.reader is None else (dotted("reader", self.reader),)))


class ImageRecipe(Recipe):
    """One picture model."""

    configs: ClassVar[Mapping[str, type[StepConfig]]] = {
        "dataset": DatasetConfig,
        "train": TrainConfig,
        "distill": DistillConfig,
        "evaluate": EvaluateConfig,
    }

    modality: Literal["image"] = "image"
    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    trigger: str = Field(min_length=1, max_length=64, description="Word that calls the character or style.")
    judge: JudgeConfig | None = Field(
        None, description="Who chooses the checkpoint and measures; null: the validation loss chooses, few metrics."
    )
    prompts: str | None = Field(
        None, description="Folder of prompt sets with known answers; null: the dataset's own captions."
    )
    reader: str | None = Field(
        None,
        description="Who reads users' prompts where the base has a vocabulary of its own; null: they pass as typed.",
    )
    controlnets: tuple[str, ...] = Field(
        (),
        description="Folders of ControlNets of this base that a promoted model carries (control.json says the kind).",
    )
    dataset: DatasetSection
    train: TrainSection = Field(default_factory=lambda: TrainSection())
    distill: DistillSection | None = Field(
        default_factory=lambda: DistillSection(), description="null: the LoRA is served with a usual sampler."
    )
    evaluate: EvaluateSection = Field(default_factory=lambda: EvaluateSection())
    promote: PromoteConfig = Field(
        default_factory=lambda: PromoteConfig(thresholds={"fidelity.similarity": Bound(min=0.1)})
    )
    package: ImagePackage = Field(default_factory=lambda: ImagePackage())

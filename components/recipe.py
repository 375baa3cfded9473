"""Everything a product can be told, one frozen class per step. Python holds the defaults, YAML holds overrides.

A recipe's `model`, `trigger` and `seed` are written once at the top and handed to every step that does not override
them, so that a step's own class says all that its output depends on (its digest decides whether output is current).
"""

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.errors import RecipeError
from components.settings import PromptClient

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
STEPS = ("dataset", "train", "distill", "evaluate", "promote", "package")


class Frozen(BaseModel):
    """A closed, immutable section: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Frozen):
    """The base model that everything is trained on."""

    family: Literal["sd15", "sdxl"] = Field("sd15", description="Architecture: sd15 (also the embedded base) or sdxl.")
    base: str = Field("data/base", description="Folder in diffusers format, or a hub id.")
    revision: str | None = Field(None, description="Hub revision (commit or tag) of the base.")
    resolution: int = Field(128, ge=32, le=2048, multiple_of=8, description="Side of a training picture, pixels.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of frozen weights; auto: bfloat16 on a GPU, float32 on a CPU (training steps in "
        "bfloat16 where the processor multiplies in it).",
    )


class StepConfig(Frozen):
    """What every step knows."""

    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    trigger: str = Field(
        "kyarachar", min_length=1, max_length=64, description="Word that calls the character or style."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of everything random in this step.")

    def digest(self) -> str:
        """sha256 of the canonical JSON form."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def sources(self) -> dict[str, str]:
        """Folders and files outside the pipeline that this step reads, by input name."""
        return {"base": self.model.base}


class DatasetConfig(StepConfig):
    """A folder of pictures to verified, deduplicated, captioned, cached training data."""

    source: str = Field("data/demo", description="Folder of pictures, with sidecar .txt captions or metadata.jsonl.")
    min_side: int = Field(64, ge=1, description="Pictures with a shorter side below this are dropped, pixels.")
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
    validation_share: Share = Field(0.08, description="Share of pictures kept out of training for the validation loss.")
    tag_shuffles: Count = Field(4, description="Caption variants (tags shuffled) whose text embeddings are cached.")
    license: str | None = Field(
        None, description="Licence of pictures that state none of their own; null: what provenance.json says."
    )
    masks: str | None = Field(
        None,
        description="Where the loss counts: alpha (of the pictures), or a folder of grey pictures of the same names "
        "(white counts); null: everywhere.",
    )

    def sources(self) -> dict[str, str]:
        folder = None if self.masks == "alpha" else self.masks
        return {**super().sources(), "data": self.source, **_given(masks=folder)}


class TrainConfig(StepConfig):
    """LoRA training of the denoiser (Hu et al., arXiv 2106.09685)."""

    rank: int = Field(16, ge=1, le=512, description="Rank of the LoRA matrices.")
    alpha: float = Field(16, gt=0, description="LoRA scale is alpha / rank.")
    targets: Literal["attention", "all"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        "attention",
        description="Layers that get a LoRA: attention, all (and feed-forward, convolutions), or ends of module names.",
    )
    epochs: Count = Field(20, description="Passes over the pictures.")
    batch_size: Count = 8
    accumulation: Count = Field(1, description="Batches whose gradients are summed before one optimizer step.")
    learning_rate: float = Field(5e-4, gt=0)
    warmup_share: Share = Field(0.05, description="Share of all steps in which the learning rate rises.")
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(1e-2, ge=0)
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    min_snr_gamma: float | None = Field(5.0, gt=0, description="Min-SNR loss weighting (arXiv 2303.09556); null: off.")
    empty_caption_share: Share = Field(0.1, description="Share of captions replaced by the empty one, for guidance.")
    gradient_checkpointing: bool = Field(False, description="Compute activations twice to save memory.")
    checkpoint_every: Count = Field(5, description="Epochs between sealed checkpoints.")
    keep_checkpoints: int = Field(
        3, ge=2, description="Resumable checkpoints kept; adapters of all are kept for the choice."
    )
    samples: int = Field(8, ge=0, description="Pictures of the sample grid drawn at each checkpoint.")
    sample_steps: Count = 12
    guidance: float = Field(4.0, ge=1, description="Guidance scale of samples.")
    select_prompts: int = Field(
        24, ge=0, description="Prompts of the select set that choose the best checkpoint; 0: lowest validation loss."
    )
    judge: str | None = Field(
        "data/judge", description="Judge that chooses the checkpoint; null: lowest validation loss."
    )
    style: str = Field("lorelei", description="Style of the vocabulary that the judge expects to see.")
    prompts: str | None = Field(
        "data/prompts", description="Folder with select.json; null: samples are asked with captions."
    )
    export_dtype: Literal["float32", "float16"] = Field(
        "float32", description="Precision of the exported adapter files."
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

    def sources(self) -> dict[str, str]:
        return {**super().sources(), **_given(judge=self.judge, prompts=self.prompts)}


class DistillConfig(StepConfig):
    """Latent consistency distillation (Luo et al., arXiv 2310.04378 and 2311.05556)."""

    mode: Literal["lora", "full"] = Field(
        "lora", description="LCM-LoRA on top of the character LoRA, or all weights with embedded guidance."
    )
    rank: int = Field(16, ge=1, le=512, description="Rank of the LCM-LoRA.")
    alpha: float = Field(16, gt=0)
    steps: Count = Field(400, description="Optimizer steps.")
    batch_size: Count = 8
    learning_rate: float = Field(5e-4, gt=0)
    warmup_share: Share = 0.05
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0)
    guidance: tuple[float, float] = Field(
        (3.0, 5.0), description="Range of the usual guidance scale that is distilled (w + 1 of the paper)."
    )
    ddim_steps: int = Field(
        50, ge=4, le=1000, description="Steps of the teacher's DDIM solver over the whole schedule."
    )
    huber_c: float = Field(0.001, gt=0, description="c of the pseudo-Huber loss.")
    timestep_scaling: float = Field(10.0, gt=0, description="s = scaling * t in the boundary condition.")
    ema_decay: float = Field(0.95, ge=0, lt=1, description="Target network of full distillation.")
    empty_prompt_share: Share = Field(0.1, description="Share of prompts replaced by the empty one.")
    served_steps: Count = Field(4, description="Steps of a picture unless a request says otherwise.")
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
    checkpoint_every: Count = Field(200, description="Steps between sealed checkpoints.")
    keep_checkpoints: int = Field(2, ge=2)
    samples: int = Field(8, ge=0, description="Pictures of the sample grid.")
    prompts: str | None = Field(
        "data/prompts", description="Folder with select.json, the prompts of paths and samples; null: captions."
    )
    accumulation: Count = Field(1, description="Batches whose gradients are summed before one optimizer step.")
    gradient_checkpointing: bool = Field(False, description="Compute activations twice to save memory.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.guidance
        if not 1 <= low <= high:
            raise ValueError(f"guidance {self.guidance} must be two numbers, 1 <= low <= high")
        return self

    def sources(self) -> dict[str, str]:
        return {**super().sources(), **_given(prompts=self.prompts)}


class EvaluateConfig(StepConfig):
    """Base, LoRA and LCM side by side, equal prompts and seeds."""

    judge: str | None = Field("data/judge", description="Folder of the judge; null: only figures that need none.")
    prompts: str | None = Field(
        "data/prompts", description="Folder with report.json; null: the dataset's own captions."
    )
    reference: str | None = Field("data/reference", description="Judge features of held-out pictures; null: no KID.")
    style: str = Field("lorelei", description="Style of the vocabulary that the pictures show; the judge looks for it.")
    base_style: str | None = Field("adventurer", description="Style that the base is asked for; null: the bare prompt.")
    count: Count = Field(64, description="Prompts of the report set for base, LoRA and the main LCM step count.")
    calibrate_count: int = Field(
        128, ge=0, description="Pictures of the calibrate set that the confidence of prompts is learnt from; 0: none."
    )
    prompts_client: PromptClient = Field(
        "lexicon", description="Who reads prompts, here and where settings name nobody; keys alone call nobody."
    )
    attacked_count: Count = Field(24, description="Prompts of the report set that are attacked and rescued.")
    other_count: Count = Field(16, description="Prompts for the other step counts.")
    lcm_steps: tuple[Count, ...] = Field((1, 2, 4, 8, 20), description="Step counts of the student.")
    main_steps: Count = Field(4, description="The student's step count that is served.")
    teacher_steps: Count = Field(20, description="Steps of base and LoRA.")
    guidance: float = Field(4.0, ge=1)
    batch_size: Count = 16
    timing_runs: int = Field(15, ge=3, description="Interleaved runs of each speed figure.")
    bootstrap: int = Field(1000, ge=100, description="Resamples behind each interval.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.main_steps not in self.lcm_steps:
            raise ValueError(f"main_steps {self.main_steps} must be one of lcm_steps {self.lcm_steps}")
        if self.other_count > self.count:
            raise ValueError(f"other_count {self.other_count} must not exceed count {self.count}")
        if self.judge and not self.base_style:
            raise ValueError("base_style must name a style of the vocabulary where there is a judge")
        return self

    def sources(self) -> dict[str, str]:
        return {**super().sources(), **_given(judge=self.judge, prompts=self.prompts, reference=self.reference)}


class Bound(Frozen):
    """Allowed range of one figure."""

    min: float | None = None
    max: float | None = None


class PromoteConfig(StepConfig):
    """The gate between a trained model and the registry alias `champion`."""

    thresholds: dict[str, Bound] = Field(
        default_factory=lambda: {
            "lora.style": Bound(min=0.9),
            "lora.copying": Bound(max=0.05),
            "fidelity.adherence_ratio": Bound(min=0.9),
            "fidelity.similarity": Bound(min=0.1),
        },
        description="Figure -> bounds; all must hold.",
    )
    compare: tuple[str, ...] = Field(
        ("lcm4.adherence", "lcm4.style"),
        description="Figures (larger is better) that may not fall below the champion's interval.",
    )

    @model_validator(mode="after")
    def _no_speed(self) -> Self:
        timed = [name for name in (*self.thresholds, *self.compare) if name.startswith("speed.")]
        if timed:
            raise ValueError(f"{', '.join(timed)}: speed is reported, never gated (it depends on the machine)")
        return self


class PackageConfig(StepConfig):
    """The champion as a Bento."""

    engine: Literal["auto", "eager", "openvino", "compiled"] = Field(
        "auto", description="auto: OpenVINO on a CPU, compiled on a GPU."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where its error stays in bounds."
    )
    max_error: float = Field(0.05, gt=0, description="Largest relative error of bfloat16 latents that is accepted.")
    max_concurrency: Count = Field(8, description="Requests in work or waiting before 429.")


class ImageRecipe(Frozen):
    """One product."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Registered model name, folder name.")
    modality: Literal["image"] = "image"
    description: str = ""
    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    trigger: str = Field("kyarachar", min_length=1, max_length=64)
    seed: int = Field(0, ge=0, lt=2**32)
    dataset: DatasetConfig = Field(default_factory=lambda: DatasetConfig())
    train: TrainConfig = Field(default_factory=lambda: TrainConfig())
    distill: DistillConfig = Field(default_factory=lambda: DistillConfig())
    evaluate: EvaluateConfig = Field(default_factory=lambda: EvaluateConfig())
    promote: PromoteConfig = Field(default_factory=lambda: PromoteConfig())
    package: PackageConfig = Field(default_factory=lambda: PackageConfig())

    @model_validator(mode="before")
    @classmethod
    def _share(cls, data: Any) -> Any:
        """Hand model, trigger and seed to every step that does not override them."""
        if not isinstance(data, Mapping):
            return data
        shared = {key: data[key] for key in ("model", "trigger", "seed") if key in data}
        filled = {step: {**shared, **data.get(step, {})} for step in STEPS if isinstance(data.get(step, {}), Mapping)}
        return {**data, **filled}

    def step(self, name: str) -> StepConfig:
        """The section of one stage. Raises RecipeError for an unknown stage."""
        if name not in STEPS:
            raise RecipeError(f"stage {name!r} is unknown.", hint=f"Expected one of: {', '.join(STEPS)}.")
        section: StepConfig = getattr(self, name)
        return section


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> ImageRecipe:
    """Read a recipe; `overrides` are nested mappings that win over the file.

    Raises:
        RecipeError: missing file, broken YAML, or wrong values, all of them in one error.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RecipeError(
            f"recipe {str(path)!r} cannot be read: {reason}.",
            hint="Name a YAML file, such as flows/recipes/manga-tiny.yaml.",
        ) from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {str(path)!r} is not YAML: {error}.") from error
    if not isinstance(data, dict):
        raise RecipeError(f"recipe {str(path)!r} holds a {type(data).__name__}; expected a mapping with a `name`.")
    return parse_recipe(merge(data, overrides or {}), str(path))


def parse_recipe(data: Mapping[str, Any], origin: str) -> ImageRecipe:
    """A recipe from plain data. Raises RecipeError with every mistake."""
    try:
        return ImageRecipe.model_validate(data)
    except ValidationError as error:
        # A shared value that is wrong is reported once, not once a step.
        shared = {"model", "trigger", "seed"}
        details = [
            item
            for item in error.errors()
            if not (
                item["loc"][0] in STEPS
                and len(item["loc"]) > 1
                and item["loc"][1] in shared
                and item["loc"][1] in data
                and item["loc"][1] not in (data.get(str(item["loc"][0])) or {})
            )
        ]
        problems = [_sentence(item) for item in details]
        raise RecipeError(
            f"recipe {origin!r} has {len(problems)} mistake(s):", problems, hint="Nothing was started."
        ) from error


def merge(data: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings where `overrides` win, field by field."""
    merged = dict(data)
    for key, value in overrides.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def _sentence(error: Any) -> str:
    """One pydantic error as: field, value, what was expected."""
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{field}: no such field{_suggestion(error['loc'])}"
    if error["type"] == "missing":
        return f"{field}: missing; it has no default"
    return f"{field}: {error['input']!r} is wrong: {error['msg']}"


def _suggestion(location: tuple[str | int, ...]) -> str:
    """A near field name of the same section, where there is one."""
    model: type[BaseModel] = ImageRecipe
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return ""
        model = field.annotation
    near = difflib.get_close_matches(str(location[-1]), list(model.model_fields), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(model.model_fields)}"


def _given(**paths: str | None) -> dict[str, str]:
    return {name: path for name, path in paths.items() if path is not None}

"""What every product can be told: one frozen class a section. Python holds the defaults, YAML holds overrides.

A recipe's shared values (the seed, for a picture model also its base and trigger) are written once, at its top. A stage
gets a `StepConfig`: its own section and those of the shared values that its class names, so that the digest of what it
gets decides whether its output is current.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.errors import RecipeError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
R = TypeVar("R", bound="Recipe")


class Frozen(BaseModel):
    """A closed, immutable section: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def digest(self) -> str:
        """sha256 of the canonical JSON form."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


class StepConfig(Frozen):
    """What every stage is told."""

    seed: int = Field(0, ge=0, lt=2**32, description="Seed of everything random in this step.")

    def sources(self) -> dict[str, str]:
        """Folders and files outside the pipeline that this step reads, by input name."""
        return {}

    def plugins(self) -> tuple[str, ...]:
        """Dotted names of plug-ins whose code decides what this step makes."""
        return ()


class OptimizationSection(Frozen):
    """What every training can be told of its optimizer steps; a section with other defaults declares a field again."""

    batch_size: Count = 4
    accumulation: Count = Field(1, description="Batches whose gradients are summed before one optimizer step.")
    learning_rate: float = Field(1e-4, gt=0)
    warmup_share: Share = Field(0.05, description="Share of all steps in which the learning rate rises.")
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(1e-2, ge=0)
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    checkpoint_every: Count = Field(250, description="Steps between sealed checkpoints.")
    keep_checkpoints: int = Field(2, ge=2, description="Resumable checkpoints kept.")


class Bound(Frozen):
    """Allowed range of one metric."""

    min: float | None = None
    max: float | None = None


class Goal(Bound):
    """What a metric should reach; `stretch` is the wish beyond it. It is shown in the report and refuses nothing."""

    stretch: float | None = None
    unit: str = ""

    def reached(self, value: float) -> bool | None:
        """Whether `value` lies in the range; None where there is none."""
        if self.min is None and self.max is None:
            return None
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class PromoteConfig(Frozen):
    """The gate between a trained model and the registry alias `champion`."""

    thresholds: dict[str, Bound] = Field(default_factory=dict, description="Figure -> bounds; all must hold.")
    compare: tuple[str, ...] = Field(
        (), description="Metrics (larger is better) that may not fall below the champion's interval."
    )
    goals: dict[str, Goal] = Field(
        default_factory=dict, description="Metrics that the report shows first, and what they should reach."
    )

    @model_validator(mode="after")
    def _no_speed(self) -> "PromoteConfig":
        timed = [name for name in (*self.thresholds, *self.compare) if name.startswith("speed.")]
        if timed:
            raise ValueError(f"{', '.join(timed)}: speed is reported, never gated (it depends on the machine)")
        return self


class PackageConfig(Frozen):
    """The champion as a Bento."""

    max_concurrency: Count = Field(8, description="Requests in work or waiting before 429.")


class Recipe(Frozen):
    """One product. A modality adds its sections, named as its stages, and what they share.

    `configs`: stage -> the StepConfig that it gets. A section that may be null is a stage that may be left out.
    """

    configs: ClassVar[Mapping[str, type[StepConfig]]] = {}

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Registered model name, folder name.")
    modality: str = Field("image", description="A row of the table of modalities.")
    description: str = ""
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of everything random.")
    promote: PromoteConfig = Field(default_factory=lambda: PromoteConfig())
    package: PackageConfig = Field(default_factory=lambda: PackageConfig())

    def has(self, stage: str) -> bool:
        """Whether the stage's section is not null."""
        return getattr(self, stage, None) is not None

    def step(self, stage: str) -> StepConfig:
        """What a stage gets. Raises RecipeError for an unknown one, or one that was left out."""
        if stage not in self.configs:
            raise RecipeError(f"stage {stage!r} is unknown.", hint=f"Expected one of: {', '.join(self.configs)}.")
        if not self.has(stage):
            raise RecipeError(f"recipe {self.name!r} has no stage {stage!r} (its section is null).")
        kind = self.configs[stage]
        return kind(
            **{name: value for name, value in self.shared().items() if name in kind.model_fields},
            **dict(getattr(self, stage)),
        )

    def shared(self) -> dict[str, Any]:
        """The values at the top that stages get besides their own section."""
        known = {name for kind in self.configs.values() for name in kind.model_fields}
        return {name: getattr(self, name) for name in type(self).model_fields if name in known}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a recipe file. Raises RecipeError: no such file, not YAML, no mapping."""
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
    return data


def parse(kind: type[R], data: Mapping[str, Any], origin: str) -> R:
    """A recipe of a modality's class from plain data. Raises RecipeError with every mistake."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = [_sentence(kind, item) for item in error.errors()]
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


def _sentence(kind: type[BaseModel], error: Any) -> str:
    """One pydantic error as: field, value, what was expected."""
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{field}: no such field{_suggestion(kind, error['loc'])}"
    if error["type"] == "missing":
        return f"{field}: missing; it has no default"
    return f"{field}: {error['input']!r} is wrong: {error['msg']}"


def _suggestion(model: type[BaseModel], location: tuple[str | int, ...]) -> str:
    """A near field name of the same section, where there is one."""
    for part in location[:-1]:
        section = _section(model, str(part))
        if section is None:
            return ""
        model = section
    near = difflib.get_close_matches(str(location[-1]), list(model.model_fields), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(model.model_fields)}"


def _section(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The class of a field that is a section, or a section or null."""
    field = model.model_fields.get(name)
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)

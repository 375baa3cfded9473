"""A promoted picture model: one self-contained folder that `load` turns into a generator and the service watches.

model.json                 the card below
base/                      the base model, copied where it is a local folder; a hub id stays a name in the card
anime-lora-final/          the character LoRA, peft and kohya form
lcm_distilled_model/       what makes it fast, where the recipe distils
controlnets/               what steers it by sketches and poses, where the recipe names some
judge/                     who chooses among several pictures, where the recipe has a judge with files
metrics.json               what was measured for it
calibration.json           how sure a prompt's picture is, where that was learnt
manifest.json              digests of all files
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from components.artifact import Artifact, digest_of, open_sealed, replacing, seal, write_json
from components.contracts import CALIBRATION, METRICS
from components.errors import ModelError
from components.image import promptset
from components.image.generation.control import CARD as CARD_OF_CONTROL
from components.image.generation.control import CONTROLNETS
from components.image.generation.modes import MODES, Request
from components.image.recipe import EvaluateConfig, ImagePackage, ImageRecipe, JudgeConfig, ModelConfig
from components.plugins import dotted
from components.recipe import Frozen
from components.settings import settings

if TYPE_CHECKING:
    from components.image.generator import ImageGenerator

CARD = "model.json"
LORA = "anime-lora-final"
LCM = "lcm_distilled_model"
JUDGE = "judge"

ROUTES = {mode.route: mode.request for mode in MODES.values()}
MEDIA_TYPE = "image/png"
REGISTERED = (LORA, LCM)
REQUIREMENTS = ("accelerate", "python-multipart")  # diffusers loads with the one, starlette reads forms with the other
APIS = ("serving.api.openai_routes:router", "serving.api.a1111_routes:router")
HEADLINES = (
    ("lora.style", "style", "%"),
    ("fidelity.adherence_ratio", "fidelity", "%"),
    ("speed.total", "speed", "×"),
    ("dataset.kept", "kept", "1"),
)
PICTURES = (
    ("gallery", "evaluate", "grids/gallery.png", 1),
    ("gallery", "evaluate", "grids/gallery-beside.png", 1),
    ("compare", "evaluate", "grids/compare.png", 1),
    ("input", "dataset", "images/*.png", 16),
    ("curves", "train", "curves.png", 1),
    ("curves", "distill", "curves.png", 1),
    ("samples", "train", "samples/*.png", 8),
    ("grids", "evaluate", "xy.png", 1),
    ("grids", "evaluate", "plots/*.png", 16),
)

__all__ = [
    "APIS",
    "MEDIA_TYPE",
    "PICTURES",
    "REGISTERED",
    "REQUIREMENTS",
    "ROUTES",
    "Request",
    "assemble",
    "example",
    "load",
    "measured_again",
    "plugins",
]


class ModelCard(Frozen):
    """What a promoted model is, and how it is asked by default."""

    format: Literal[1] = 1
    name: str = Field(description="The recipe's name.")
    version: str = Field("", description="Version in the registry; empty: not registered.")
    modality: Literal["image"] = "image"
    model: ModelConfig = Field(description="The base; `base` is relative to this folder, or a hub id.")
    trigger: str = Field(description="Word that calls the character or style.")
    mode: Literal["none", "lora", "full"] = Field("none", description="How it was distilled; none: it was not.")
    steps: int = Field(ge=1, description="Steps of a picture unless a request says otherwise.")
    guidance: float | None = Field(
        None, description="Guidance scale unless a request says otherwise; null: as distilled."
    )
    reader: str | None = Field(None, description="Who reads prompts; null: they pass as typed.")
    judge: JudgeConfig | None = Field(None, description="Who chooses among several pictures; paths as in `model`.")
    license: str = Field("", description="Licence of the training pictures.")
    parents: dict[str, str] = Field(default_factory=dict, description="Digests of what it was made from.")


@dataclass(frozen=True)
class PromotedModel:
    """A folder, its card, and the digest of its content."""

    folder: Path
    card: ModelCard
    digest: str

    @property
    def base(self) -> ModelConfig:
        """The base as `load_bundle` wants it: an absolute folder, or the hub id."""
        local = self.folder / self.card.model.base
        return self.card.model.model_copy(update={"base": str(local)}) if local.is_dir() else self.card.model

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured for it; empty where nothing was."""
        file = self.folder / METRICS
        return _read(file) if file.is_file() else {}


def load(folder: Path, options: Mapping[str, Any] | None = None) -> "ImageGenerator":
    """A promoted model's folder, verified, fused, compiled and warm.

    Raises:
        ModelError, ArtifactError: the folder is not a sound promoted model.
    """
    from components.image.generator import ImageGenerator

    package = ImagePackage.model_validate(dict(options or {}))
    return ImageGenerator.load(folder, package.engine, package.precision, package.max_error, parallel=package.parallel)


def measured_again(recipe: ImageRecipe, folder: Path) -> tuple[EvaluateConfig, Mapping[str, Path]]:
    """How `evaluate` measures a promoted folder, which holds what `train` and `distill` made, as it did the stages."""
    model = read_model(folder)
    usual = recipe.step("evaluate")
    assert isinstance(usual, EvaluateConfig)
    config = usual.model_copy(update={"model": model.base, "trigger": model.card.trigger})
    inputs = {"train": model.folder, **({} if model.card.mode == "none" else {"distill": model.folder})}
    return config, inputs


def example(recipe: ImageRecipe) -> dict[str, Any]:
    """The gallery's first prompt; without one that of the report set; without a set the trigger alone."""
    folder = settings().resolve(recipe.prompts) if recipe.prompts else None
    name: promptset.SetName = "gallery" if folder and (folder / "gallery.json").is_file() else "report"
    items = promptset.load(folder, name, 1) if folder else ()
    return {"prompt": items[0].prompt if items else recipe.trigger, "seed": recipe.seed}


def plugins(folder: Path) -> Sequence[str]:
    """The card's reader and judge."""
    card = read_model(folder).card
    named = [] if card.reader is None else [dotted("reader", card.reader)]
    named += [] if card.judge is None else [dotted("judge", card.judge.plugin)]
    return [text.partition(":")[0] for text in named]


def assemble(
    recipe: ImageRecipe,
    outputs: Mapping[str, Path],
    out: Path,
    *,
    version: str = "",
    parents: Mapping[str, str] | None = None,
) -> Artifact:
    """Put the stages' outputs and the base into one sealed folder; `out` appears whole or not at all.

    Args:
        outputs: folders of `train`, `distill` where there is one, and `evaluate` (metrics, calibration of prompts).
        parents: digests worth remembering besides those of the stages (data, DVC, runs).

    Raises:
        ModelError: one of the parts is missing.
    """
    origin = {**{stage: digest_of(folder) for stage, folder in outputs.items()}, **(parents or {})}
    base = settings().resolve(recipe.model.base)
    card = _new_card(recipe, outputs, version, origin, local=base.is_dir())
    with replacing(out) as folder:
        folder.mkdir()
        if base.is_dir():
            shutil.copytree(base, folder / "base", ignore=shutil.ignore_patterns(".*"))
        shutil.copytree(outputs["train"] / LORA, folder / LORA)
        if "distill" in outputs:
            shutil.copytree(outputs["distill"] / LCM, folder / LCM)
        if card.judge is not None and card.judge.folder == JUDGE and recipe.judge is not None:
            shutil.copytree(settings().resolve(str(recipe.judge.folder)), folder / JUDGE)
        for path in map(settings().resolve, recipe.controlnets):
            _copy_controlnet(path, folder / CONTROLNETS / path.name)
        for name in (METRICS, CALIBRATION):
            if "evaluate" in outputs and (outputs["evaluate"] / name).is_file():
                shutil.copyfile(outputs["evaluate"] / name, folder / name)
        write_json(folder / CARD, card.model_dump(mode="json"))
        fingerprint = hashlib.sha256(json.dumps(card.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
        seal(folder, fingerprint, origin, {"name": recipe.name, "version": version})
    return open_sealed(out)


def _copy_controlnet(source: Path, target: Path) -> None:
    if not (source / CARD_OF_CONTROL).is_file():
        raise ModelError(
            f"ControlNet {str(source)!r} has no {CARD_OF_CONTROL}.",
            hint="Run `dvc pull`, or `kyara produce control-pose`.",
        )
    shutil.copytree(source, target)


def _new_card(
    recipe: ImageRecipe, outputs: Mapping[str, Path], version: str, origin: Mapping[str, str], *, local: bool
) -> ModelCard:
    lora = _read(outputs["train"] / LORA / "metadata.json")
    origins = outputs["train"] / LORA / "metadata.json"
    facts: dict[str, Any] = {
        "name": recipe.name,
        "version": version,
        "model": recipe.model.model_copy(update={"base": "base"} if local else {}),
        "trigger": recipe.trigger,
        "reader": recipe.reader,
        "judge": recipe.judge
        and recipe.judge.model_copy(update={"folder": recipe.judge.folder and JUDGE, "reference": None}),
        "license": lora.get("license") or "",
        "parents": dict(origin),
    }
    if "distill" in outputs:
        origins = outputs["distill"] / LCM / "metadata.json"
        student = _read(origins)
        facts |= {"mode": student.get("mode"), "steps": student.get("steps")}
    else:
        facts |= {"mode": "none", "steps": recipe.evaluate.teacher_steps, "guidance": recipe.evaluate.guidance}
    return _card(facts, origins)


def read_model(folder: Path, *, verify: bool = False) -> PromotedModel:
    """The promoted model in `folder`; with `verify` every file's digest is checked.

    Raises:
        ModelError: no model there, or a card that this version cannot read.
        ArtifactError: the folder is not sealed, or a file differs from the manifest.
    """
    card = _card(_read(folder / CARD), folder / CARD)
    return PromotedModel(folder.resolve(), card, open_sealed(folder, verify=verify).digest)


def _card(facts: Mapping[str, Any], origin: Path) -> ModelCard:
    try:
        return ModelCard.model_validate(facts)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ModelError(
            f"{str(origin)!r} cannot be used: {wrong}.", hint="Make the model again with this version of Kyara."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{str(path)!r} cannot be read: {error}.", hint="Run the pipeline, or name a promoted model's folder."
        ) from error
    if not isinstance(data, dict):
        raise ModelError(f"{str(path)!r} holds a {type(data).__name__}; expected an object.")
    return data

"""A promoted model: one self-contained folder that `ImageGenerator` loads and the service watches.

model.json                 the card below
base/                      the base model, copied where it is a local folder; a hub id stays a name in the card
anime-lora-final/          the character LoRA, peft and kohya form
lcm_distilled_model/       what makes it fast
metrics.json               what was measured for it, where it was
manifest.json              digests of all files
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from components.artifact import Artifact, digest_of, open_sealed, replacing, seal, write_json
from components.contracts import CALIBRATION, FIGURES
from components.errors import ModelError
from components.recipe import Frozen, ImageRecipe, ModelConfig
from components.settings import settings

CARD = "model.json"
LORA = "anime-lora-final"
LCM = "lcm_distilled_model"


class ModelCard(Frozen):
    """What a promoted model is, and how it is asked by default."""

    format: Literal[1] = 1
    name: str = Field(description="The recipe's name.")
    version: str = Field("", description="Version in the registry; empty: not registered.")
    modality: Literal["image"] = "image"
    model: ModelConfig = Field(description="The base; `base` is relative to this folder, or a hub id.")
    trigger: str = Field(description="Word that calls the character or style.")
    mode: Literal["lora", "full"] = Field(description="How it was distilled.")
    steps: int = Field(ge=1, description="Steps of a picture unless a request says otherwise.")
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


def assemble(
    recipe: ImageRecipe,
    train: Path,
    distill: Path,
    out: Path,
    *,
    version: str = "",
    parents: Mapping[str, str] | None = None,
    measured: Path | None = None,
) -> Artifact:
    """Put the outputs of `train` and `distill` and the base into one sealed folder; `out` appears whole or not at all.

    Args:
        parents: digests worth remembering besides those of the two stages (data, DVC, runs).
        measured: output of `evaluate`: its figures, which the service shows, and the calibration of prompts.

    Raises:
        ModelError: one of the parts is missing.
    """
    base = settings().resolve(recipe.model.base)
    student, lora = _read(distill / LCM / "metadata.json"), _read(train / LORA / "metadata.json")
    origin = {"train": _digest(train), "distill": _digest(distill), **(parents or {})}
    facts = {
        "name": recipe.name,
        "version": version,
        "model": recipe.model.model_copy(update={"base": "base"} if base.is_dir() else {}),
        "trigger": recipe.trigger,
        "mode": student.get("mode"),
        "steps": student.get("steps"),
        "license": lora.get("license") or "",
        "parents": origin,
    }
    card = _card(facts, distill / LCM / "metadata.json")
    with replacing(out) as folder:
        folder.mkdir()
        if base.is_dir():
            shutil.copytree(base, folder / "base", ignore=shutil.ignore_patterns(".*"))
        shutil.copytree(train / LORA, folder / LORA)
        shutil.copytree(distill / LCM, folder / LCM)
        for file in () if measured is None else (measured / name for name in (FIGURES, CALIBRATION)):
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
        write_json(folder / CARD, card.model_dump(mode="json"))
        fingerprint = hashlib.sha256(json.dumps(card.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
        seal(folder, fingerprint, origin, {"name": recipe.name, "version": version})
    return open_sealed(out)


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


def _digest(folder: Path) -> str:
    """The sealed digest where a stage made the folder, else that of its files."""
    return open_sealed(folder).digest if (folder / "manifest.json").is_file() else digest_of(folder)


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

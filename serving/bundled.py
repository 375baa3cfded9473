"""What a Bento carries beside its code: the pinned model in `model/`, and `package.json` (recipe section, labels)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.artifact import POINTER
from components.contracts import FIGURES
from components.errors import ModelError
from components.recipe import PackageConfig
from components.settings import REPOSITORY, settings


@dataclass(frozen=True)
class Bundled:
    """`model` is None outside a Bento; `labels` say which runs and data it came from."""

    model: Path | None
    card: Mapping[str, Any] = field(default_factory=dict)
    config: PackageConfig = field(default_factory=lambda: PackageConfig.model_validate({}))
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def watched(self) -> Path | None:
        """The folder whose champion is followed: KYARA_MODELS, or this product's place in it; None when it is unset."""
        models = settings().models
        if models is None or not self.card or (models / POINTER).is_file():
            return models
        return models / str(self.card["modality"]) / str(self.card["name"])


def read_bundled(root: Path = REPOSITORY) -> Bundled:
    """What lies beside the code. Raises ModelError where it cannot be read."""
    package = root / "package.json"
    if not package.is_file():
        return Bundled(None)
    try:
        found = json.loads(package.read_text(encoding="utf-8"))
        card = json.loads((root / "model" / "model.json").read_text(encoding="utf-8"))
        return Bundled(root / "model", card, PackageConfig.model_validate(found["config"]), found["labels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{str(root)!r} is not a sound Bento: {error!r}.", hint="Build it again.") from error


def read_figures(model: Path) -> dict[str, Any]:
    """What was measured for a promoted model; empty where nothing was. The file is sealed with the model."""
    file = model / FIGURES
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}

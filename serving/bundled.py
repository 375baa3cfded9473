"""What a Bento carries beside its code: the pinned model in `model/`, and `package.json` (recipe section, labels)."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from components.errors import ModelError
from components.recipe import PackageConfig
from components.settings import REPOSITORY, settings


@dataclass(frozen=True)
class Bundled:
    """`version` and `labels` of the pinned model; outside a Bento there is neither, and `model` is None."""

    model: Path | None
    version: str = "unversioned"
    recipe: str = ""
    modality: str = "image"
    config: PackageConfig = field(default_factory=PackageConfig)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def watched(self) -> Path | None:
        """The folder whose champion is followed: KYARA_MODELS itself, or the recipe's place in it; None when it is unset."""
        models = settings().models
        if models is None:
            return None
        own = models / self.modality / self.recipe
        return own.resolve() if self.recipe and own.is_dir() else models.resolve()


def read_bundled(root: Path = REPOSITORY) -> Bundled:
    """What lies beside the code. Raises ModelError for a package.json that cannot be read."""
    file = root / "package.json"
    if not file.is_file():
        return Bundled(None)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Bundled(
            model=root / "model",
            version=found["version"],
            recipe=found["recipe"],
            modality=found["modality"],
            config=PackageConfig.model_validate(found["config"]),
            labels=found["labels"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{str(file)!r} cannot be read: {error!r}.", hint="Build the Bento again.") from error

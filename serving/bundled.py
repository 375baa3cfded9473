"""What a Bento carries beside its code: the pinned model in `model/`, and `package.json` (product, section, labels)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from components.artifact import POINTER
from components.contracts import Product
from components.errors import ModelError
from components.modalities import MODALITIES
from components.plugins import resolve
from components.recipe import PackageConfig
from components.settings import REPOSITORY, settings


@dataclass(frozen=True)
class Bundled:
    """`model` is None outside a Bento; `labels` say which runs and data it came from.

    `product` is the dotted name of the modality's product, `config` the recipe's `package` section.
    """

    model: Path | None
    name: str = ""
    modality: str = ""
    product: str = MODALITIES["image"].product
    config: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def watched(self) -> Path | None:
        """The folder whose champion is followed: KYARA_MODELS, or this product's place in it; None when it is unset."""
        models = settings().models
        if models is None or not self.name or (models / POINTER).is_file():
            return models
        return models / self.modality / self.name

    @property
    def max_concurrency(self) -> int:
        """Requests in work or waiting before 429."""
        return int(self.config.get("max_concurrency", PackageConfig().max_concurrency))

    def open_product(self) -> Product:
        """The product's module; it imports nothing heavy."""
        return cast(Product, resolve(self.product))


def read_bundled(root: Path = REPOSITORY) -> Bundled:
    """What lies beside the code. Raises ModelError where it cannot be read."""
    package = root / "package.json"
    if not package.is_file():
        return Bundled(None)
    try:
        return Bundled(root / "model", **json.loads(package.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{str(root)!r} is not a sound Bento: {error!r}.", hint="Build it again.") from error


BUNDLED = read_bundled()
PRODUCT = BUNDLED.open_product()

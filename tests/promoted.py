"""A tiny promoted model: random weights, real classes, sealed, with the champion pointer beside it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.image.recipe import ImageRecipe
from components.modalities import parse_recipe
from components.settings import settings
from tests.tiny import RESOLUTION, tiny_sd15


def tiny_recipe(**package: Any) -> ImageRecipe:
    """A product on the tiny base, whose prompts are read."""
    model = {"base": str(tiny_sd15()), "resolution": RESOLUTION}
    shared = {"name": "tiny", "trigger": "kyarachar", "model": model, "reader": "portraits"}
    recipe = parse_recipe({**shared, "dataset": {"source": "nowhere"}, "package": package}, "test")
    assert isinstance(recipe, ImageRecipe)
    return recipe


def tiny_version(models: Path, version: str, *, seed: int = 0) -> Path:
    """models/image/tiny/<version> as promote leaves it (the pointer apart); `seed` chooses the adapters' weights."""
    from components.image.product import LCM, LORA, assemble

    recipe = tiny_recipe()
    train, distill, evaluate = (models / f".stages-{version}" / stage for stage in ("train", "distill", "evaluate"))
    _adapter(tiny_sd15(), train / LORA, seed)
    _write(train / LORA / "metadata.json", {"license": "CC0-1.0", "trigger": recipe.trigger})
    _adapter(tiny_sd15(), distill / LCM / "lcm_lora", seed + 1)
    facts = {"mode": "lora", "steps": 4, "guidance": 4.0, "base": recipe.model.base, "trigger": recipe.trigger}
    _write(distill / LCM / "metadata.json", facts)
    out = models / "image" / recipe.name / version
    _write(evaluate / "metrics.json", {"lora.style": 1.0})
    assemble(recipe, {"train": train, "distill": distill, "evaluate": evaluate}, out, version=version)
    return out


def _adapter(base: Path, folder: Path, seed: int) -> None:
    import torch
    from diffusers import UNet2DConditionModel
    from peft import LoraConfig, get_peft_model

    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False)
        get_peft_model(unet, config).save_pretrained(str(folder))


def _write(path: Path, value: Any) -> None:
    from components.artifact import write_json

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value)


@contextmanager
def home(folder: Path) -> Iterator[Path]:
    """Everything that is made goes below `folder`; the environment is as before afterwards."""
    before = dict(os.environ)
    tools = ("BENTOML_HOME", "PREFECT_HOME", "KYARA_MODELS", "KYARA_ROOT")
    for name in tools:
        os.environ.pop(name, None)
    os.environ["KYARA_HOME"] = str(folder)
    settings.cache_clear()
    try:
        yield folder
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.cache_clear()

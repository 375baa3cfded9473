"""A promoted model's weights in the forms that others load: diffusers, A1111 and ComfyUI.

pytorch_lora_weights.safetensors   the LoRA for `pipeline.load_lora_weights`
<name>.safetensors                 the same in kohya's form, for A1111 and ComfyUI
student/                           what draws in few steps: a LoRA or a whole UNet, and its scheduler
base/                              the base, where it may be passed on
"""

import json
import shutil
from pathlib import Path
from typing import Any

from components.errors import ModelError
from components.image.product import LCM, LORA, PromotedModel

STUDENT, BASE, DIFFUSERS = "student", "base", "pytorch_lora_weights.safetensors"


def write_weights(model: PromotedModel, out: Path, *, with_base: bool) -> None:
    """Everything above into the folder `out`. Raises ModelError where the model lacks a file."""
    family = model.card.model.family
    try:
        _write_lora(model.folder / LORA, out, family)
        shutil.copyfile(model.folder / LORA / "kohya.safetensors", out / f"{model.card.name}.safetensors")
        if model.card.mode != "none":
            _write_student(model, out / STUDENT, family)
        if with_base:
            shutil.copytree(model.folder / BASE, out / BASE)
    except OSError as error:
        message = f"{str(model.folder)!r} cannot be published: {error}."
        raise ModelError(message, hint="Make the model again with this version of Kyara.") from error


def _write_lora(adapter: Path, out: Path, family: str) -> None:
    """A peft folder as `pipeline.load_lora_weights` finds it by itself, alpha in the file's header."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
    from safetensors.torch import load_file

    facts = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    state = load_file(adapter / "adapter_model.safetensors")
    layers = {key.removeprefix("base_model.model."): value for key, value in state.items()}
    kept = ("r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora")
    pipeline: Any = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    out.mkdir(parents=True, exist_ok=True)
    pipeline.save_lora_weights(
        out,
        unet_lora_layers=layers,
        unet_lora_adapter_metadata={name: facts[name] for name in kept if name in facts},
    )


def _write_student(model: PromotedModel, out: Path, family: str) -> None:
    source = model.folder / LCM
    if (source / "unet").is_dir():
        shutil.copytree(source / "unet", out / "unet")
    else:
        _write_lora(source / "lcm_lora", out, family)
    scheduler = model.folder / BASE / "scheduler"
    if scheduler.is_dir():
        _write_scheduler(scheduler, json.loads((source / "metadata.json").read_text(encoding="utf-8")), out)


def _write_scheduler(base: Path, facts: dict[str, Any], out: Path) -> None:
    """The LCMScheduler that the student was distilled for; a base on the hub lends its own settings."""
    from diffusers import LCMScheduler

    usual = LCMScheduler.load_config(base)
    told = {
        "original_inference_steps": facts.get("solver_steps", 50),
        "timestep_scaling": facts.get("timestep_scaling", 10.0),
    }
    LCMScheduler.from_config(usual, **told).save_pretrained(out / "scheduler")

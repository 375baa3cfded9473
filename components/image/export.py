"""A trained LoRA as files that others read: peft form (diffusers, peft) and kohya form (A1111, ComfyUI), certified.

Layout of an export: adapter_model.safetensors + adapter_config.json, kohya.safetensors, metadata.json.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel
from PIL import Image
from safetensors.torch import save, save_file
from torch import Tensor

from components.artifact import digest_of, replacing, sha256, write_json
from components.contracts import RunLog
from components.errors import ModelError
from components.image.families.bundle import Bundle, Family, load_bundle
from components.image.generation.latent import pictures
from components.image.recipe import TrainConfig
from components.settings import settings
from components.tracking import data_digest

KOHYA = "kohya.safetensors"
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Made:
    """Where an adapter comes from: the chosen checkpoint and why, the dataset's index.json, and its metrics."""

    epoch: int
    step: int
    reason: str
    dataset: Mapping[str, Any]
    metrics: Mapping[str, float]


def export(
    config: TrainConfig, made: Made, bundle: Bundle, weights: Weights, lora: LoraConfig, folder: Path, log: RunLog
) -> None:
    """Write both forms of the LoRA that `bundle` carries, load them back, compare, write metadata.json.

    Args:
        weights: `<module>.lora_A.weight` and `<module>.lora_B.weight` by name.

    Raises:
        ModelError: a file does not draw what the trained model draws.
    """
    question = (config.trigger, config.seed)
    trained = _draw(bundle, config, *question)
    with replacing(folder) as temporary:
        dtype: torch.dtype = getattr(torch, config.export_dtype)
        save_peft(temporary, weights, lora, config.model.base, dtype)
        header = kohya_metadata(config, made, bundle)
        save_kohya(temporary / KOHYA, weights, float(lora.lora_alpha), bundle, header, dtype)
        errors = certify(temporary, config, trained, question, bundle)
        worst = max(errors["peft"], errors["kohya"])
        log.message(f"both exports draw the trained model's picture (largest error {worst:.4f} of 1)")
        write_json(temporary / "metadata.json", _metadata(config, made, temporary, errors))


def save_peft(folder: Path, weights: Weights, lora: LoraConfig, base: str, dtype: torch.dtype = torch.float32) -> None:
    """adapter_model.safetensors and adapter_config.json, as PeftModel.from_pretrained reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"base_model.model.{name}": _plain(value, dtype) for name, value in weights.items()}
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    fields = {key: sorted(value) if isinstance(value, set) else value for key, value in lora.to_dict().items()}
    write_json(folder / "adapter_config.json", {**fields, "base_model_name_or_path": base, "inference_mode": True})


def save_kohya(
    path: Path,
    weights: Weights,
    alpha: float,
    bundle: Bundle,
    header: Mapping[str, str],
    dtype: torch.dtype = torch.float32,
) -> None:
    """One safetensors file with kohya's names and metadata, and the two hashes that A1111 and model sites look up."""
    unet: Any = bundle.unet
    state = kohya_state(weights, alpha, bundle.family, int(unet.config.layers_per_block), dtype)
    content = save(state)
    start = 8 + int.from_bytes(content[:8], "little")
    digest = hashlib.sha256(content[start:]).hexdigest()
    hashes = {"sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}
    save_file(state, path, metadata={"format": "pt", **header, **hashes})


def kohya_state(
    weights: Weights, alpha: float, family: Family, layers: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """`<kohya name>.lora_down.weight`, `.lora_up.weight` and `.alpha` for every adapted layer.

    Args:
        layers: the UNet's layers_per_block; SDXL's names count them.
    """
    state: dict[str, Tensor] = {}
    for name, value in weights.items():
        module, _, matrix = name.removesuffix(".weight").rpartition(".")
        path = sgm_path(module, layers) if family.name == "sdxl" else module
        key = f"{family.unet_prefix}_{path.replace('.', '_')}"
        state[f"{key}.{'lora_down' if matrix == 'lora_A' else 'lora_up'}.weight"] = _plain(value, dtype)
        state[f"{key}.alpha"] = torch.tensor(alpha, dtype=dtype)
    return state


_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_MODULE = re.compile(r"(down|mid|up)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def sgm_path(module: str, layers: int) -> str:
    """A module of diffusers' SDXL UNet in Stability's own naming, which kohya's trainer uses for SDXL.

    Stability numbers the blocks of a side through: a down block is `layers` resnets and a sampler, an up block has one
    resnet more and its sampler inside the last. `down_blocks.1.attentions.0` of SDXL is `input_blocks.4.1`.

    Raises:
        ModelError: a module outside the blocks.
    """
    found = _MODULE.fullmatch(module)
    if found is None:
        raise ModelError(f"layer {module!r} has no name in kohya's SDXL form.", hint="Set targets to attention or all.")
    side, block, kind, place, rest = found[1], int(found[2] or 0), found[3], int(found[4]), found[5]
    rest = _RESNET[rest] if kind == "resnets" else rest
    first, inner = block * (layers + 1), 0 if kind == "resnets" else 1
    if side == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * place}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.2.conv"
    if side == "down":
        return f"input_blocks.{1 + first + place}.{inner}.{rest}"
    return f"output_blocks.{first + place}.{inner}.{rest}"


def kohya_metadata(config: TrainConfig, made: Made, bundle: Bundle) -> dict[str, str]:
    """The file's header (text only): kohya's `ss_*`, Stability's modelspec 1.0.0, and Kyara's own facts."""
    return {**_kohya_facts(config, made, bundle), **_modelspec(config, made, bundle), **_kyara_facts(config, made)}


def _kohya_facts(config: TrainConfig, made: Made, bundle: Bundle) -> dict[str, str]:
    samples = [sample for sample in made.dataset["samples"] if sample["split"] == "train"]
    tags = Counter(tag.strip() for sample in samples for tag in sample["captions"][0].split(",") if tag.strip())
    side = config.model.resolution
    facts: dict[str, Any] = {
        "base_model_version": bundle.family.base_version,
        "sd_model_name": config.model.base,
        "v2": False,
        "network_module": "networks.lora",
        "network_dim": config.rank,
        "network_alpha": config.alpha,
        "network_args": {} if config.targets == "attention" else {"conv_dim": config.rank, "conv_alpha": config.alpha},
        "output_name": config.trigger,
        "learning_rate": config.learning_rate,
        "unet_lr": config.learning_rate,
        "lr_scheduler": config.schedule,
        "optimizer": "torch.optim.AdamW",
        "min_snr_gamma": config.min_snr_gamma,
        "seed": config.seed,
        "resolution": (side, side),
        "num_epochs": config.epochs,
        "epoch": made.epoch,
        "steps": made.step,
        "num_train_images": len(samples),
        "batch_size_per_device": config.batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "gradient_checkpointing": config.gradient_checkpointing,
        "max_grad_norm": config.clip,
        "tag_frequency": {config.trigger: dict(tags.most_common())},
    }
    return {f"ss_{name}": json.dumps(value) if isinstance(value, dict) else str(value) for name, value in facts.items()}


def _modelspec(config: TrainConfig, made: Made, bundle: Bundle) -> dict[str, str]:
    """https://github.com/Stability-AI/ModelSpec, version 1.0.0."""
    side = config.model.resolution
    credit = f" Pictures by {made.dataset['artist']}." if made.dataset.get("artist") else ""
    spec = {
        "architecture": bundle.family.modelspec,
        "implementation": "diffusers",
        "title": config.trigger,
        "description": f"LoRA made by Kyara on {config.model.base}.{credit}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "resolution": f"{side}x{side}",
        "prediction_type": {"v_prediction": "v", "sample": "sample"}.get(bundle.schedule.prediction, "epsilon"),
        "trigger_phrase": config.trigger,
        "usage_hint": f"Begin prompts with {config.trigger}.",
        "license": str(made.dataset.get("license") or "unknown"),
    }
    return {"modelspec.sai_model_spec": "1.0.0", **{f"modelspec.{name}": value for name, value in spec.items()}}


def _kyara_facts(config: TrainConfig, made: Made) -> dict[str, str]:
    facts = {"kyara.trigger": config.trigger, "kyara.base": config.model.base, "kyara.dvc_digest": data_digest()}
    return {name: value for name, value in facts.items() if value}


def certify(
    folder: Path, config: TrainConfig, trained: Image.Image, question: tuple[str, int], bundle: Bundle
) -> dict[str, float]:
    """Load both forms into a fresh base and compare pictures; errors are the largest difference of a channel, 0 to 1.

    Args:
        trained: what the training model draws for the question, (prompt, seed).
        bundle: the trained model; it leaves the device while the fresh base is there.

    Returns:
        The errors of `peft` and `kohya`, the `effect` (difference of the LoRA from the base) and what was `allowed`.

    Raises:
        ModelError: an error is larger than rounding explains.
    """
    bundle.unet.to("cpu")
    fresh = load_bundle(config.model, device=bundle.device)
    base = _draw(fresh, config, *question)
    load_kohya(fresh, folder / KOHYA)
    kohya = _draw(fresh, config, *question)
    unet: Any = fresh.unet
    unet.delete_adapters(unet.active_adapters())
    # beside the weights, not fused into them: fused half-precision weights round small changes away
    PeftModel.from_pretrained(unet, str(folder))
    peft = _draw(fresh, config, *question)
    effect = _difference(trained, base)
    # half precision and sums in another order move pixels a little, a wrong scale or layer by much of the effect
    exact = fresh.dtype == torch.float32 and config.export_dtype == "float32"
    allowed = (2 if exact else 8) / 255 + (0.05 if exact else 0.3) * effect
    errors = {"peft": _difference(trained, peft), "kohya": _difference(trained, kohya)}
    for form, error in errors.items():
        if error > allowed:
            raise ModelError(
                f"the {form} export draws another picture than the trained model (off by {error:.3f} > {allowed:.3f}).",
                hint="This is a fault of the export, or of a library that changed; the checkpoints are kept.",
            )
    bundle.unet.to(bundle.device)
    return {**errors, "effect": effect, "allowed": allowed}


def load_kohya(bundle: Bundle, path: Path) -> None:
    """Load a kohya file as diffusers' load_lora_weights does, as an adapter on the UNet. Raises ModelError."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin

    loader: Any = StableDiffusionXLLoraLoaderMixin if bundle.family.name == "sdxl" else StableDiffusionLoraLoaderMixin
    try:
        state, alphas = loader.lora_state_dict(str(path.parent), weight_name=path.name, unet_config=bundle.unet.config)
        loader.load_lora_into_unet(state, network_alphas=alphas, unet=bundle.unet)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"LoRA file {str(path)!r} cannot be loaded: {error}.", hint="Was it made for this base?"
        ) from error


def _draw(bundle: Bundle, config: TrainConfig, prompt: str, seed: int) -> Image.Image:
    side = config.model.resolution
    return pictures(bundle, [prompt], [seed], steps=4, guidance=config.guidance, size=(side, side))[0]


def _difference(first: Image.Image, second: Image.Image) -> float:
    pixels = [np.asarray(image, np.float32) / 255 for image in (first, second)]
    return float(np.abs(pixels[0] - pixels[1]).max())


def _metadata(config: TrainConfig, made: Made, folder: Path, errors: Mapping[str, float]) -> dict[str, Any]:
    return {
        "trigger": config.trigger,
        "base": config.model.base,
        "base_digest": digest_of(settings().resolve(config.model.base)),
        "family": config.model.family,
        "resolution": config.model.resolution,
        "rank": config.rank,
        "alpha": config.alpha,
        "targets": config.targets,
        "epoch": made.epoch,
        "step": made.step,
        "chosen": made.reason,
        "metrics": dict(made.metrics),
        "license": made.dataset.get("license"),
        "artist": made.dataset.get("artist"),
        "dvc_digest": data_digest(),
        "precision": config.export_dtype,
        "certified": dict(errors),
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir())},
    }


def _plain(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.detach().to("cpu", dtype, copy=True).contiguous()

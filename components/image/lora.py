"""LoRA adapters on a UNet, through peft (Hu et al., arXiv 2106.09685)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from components.contracts import RunLog
from components.errors import ModelError

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# what kohya's trainer calls linear and conv3x3 layers of transformers, resnets and samplers
_ALL = (
    *(*_ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv"),
)
PRESETS: Mapping[str, tuple[str, ...]] = {"attention": _ATTENTION, "all": _ALL}


@dataclass(frozen=True)
class Adapter:
    """An attached LoRA: its trainable matrices by the names that peft files use, `<module>.lora_A.weight`."""

    parameters: dict[str, nn.Parameter]
    config: LoraConfig

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over weights in place. Raises ModelError where the names differ."""
        if weights.keys() != self.parameters.keys():
            raise ModelError("these adapter weights belong to another model or to other targets.", hint="Train again.")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])


def attach(
    unet: Any,
    *,
    rank: int,
    alpha: float,
    targets: str | Sequence[str],
    seed: int,
    log: RunLog,
    name: str = "default",
) -> Adapter:
    """Add a LoRA to `unet` and make it alone trainable; its matrices are float32 whatever the UNet is.

    Args:
        targets: a preset, or ends of module names; one that matches nothing warns.
        seed: of the initial A matrices (B is zero, so the model's output does not change yet).

    Raises:
        ModelError: no target matches.
    """
    wanted = PRESETS[targets] if isinstance(targets, str) else tuple(targets)
    matching = [target for target in wanted if _matches(unet, target)]
    if not matching:
        raise ModelError(
            f"LoRA targets {targets!r} match no layer of the UNet.", hint=f"Use one of: {', '.join(PRESETS)}."
        )
    if not isinstance(targets, str):
        for target in sorted(set(wanted) - set(matching)):
            log.warn(f"LoRA target {target!r} matches no layer of the UNet and has no effect.")
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=matching)
    unet.requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet.add_adapter(config, adapter_name=name)
    parameters = {key.replace(f".{name}.", "."): value for key, value in unet.named_parameters() if value.requires_grad}
    for parameter in parameters.values():
        parameter.data = parameter.data.float()
    size = sum(parameter.numel() for parameter in parameters.values())
    log.message(f"LoRA of rank {rank} on {len(parameters) // 2} layers, {size:,} parameters")
    return Adapter(parameters, config)


def fuse(unet: Any, adapter: Path, scale: float = 1.0) -> None:
    """Add `scale` times an adapter in peft form to the UNet's weights, in place and in their precision.

    Raises:
        ModelError: the adapter is missing, damaged or made for another base.
    """
    try:
        fused = PeftModel.from_pretrained(unet, str(adapter))
        for layer in fused.modules():
            if isinstance(layer, LoraLayer):
                layer.scale_layer(scale)
        merged = fused.merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"adapter {str(adapter)!r} cannot be loaded: {error}.", hint="It must be a peft folder made for this base."
        ) from error
    assert merged is unet
    unet.requires_grad_(False).eval()


def _matches(unet: nn.Module, target: str) -> bool:
    """As peft matches, and only layers that can carry a LoRA."""
    carriers: tuple[Any, ...] = (nn.Linear, nn.Conv2d)
    layers = (name for name, module in unet.named_modules() if isinstance(module, carriers))
    return any(name == target or name.endswith(f".{target}") for name in layers)

"""ControlNets beside the one UNet that all modes share: made from a base, loaded, checked, and asked.

A ControlNet adds residuals to the UNet's skips (arXiv 2302.05543, section 3.2); several are summed by their weights.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from components.errors import ModelError
from components.image.families.bundle import Bundle, Condition, Residuals
from components.settings import settings

_WIDTHS = (16, 32, 96, 256)
"""Of the convolutions that bring a picture to the latents' size; each but the first halves it."""
_SAME = ("in_channels", "cross_attention_dim", "block_out_channels", "addition_embed_type")
_WORDS = {
    "in_channels": "latent channels",
    "cross_attention_dim": "width of the text's states",
    "block_out_channels": "channels of the UNet's levels",
    "addition_embed_type": "kind of further conditions",
}


def make_controlnet(bundle: Bundle, seed: int = 0) -> Any:
    """An untrained ControlNet for a base: a copy of its encoder, joined by convolutions of zeros. float32."""
    from diffusers import ControlNetModel

    halvings = bundle.scale.bit_length() - 1
    widths = (*_WIDTHS, *[_WIDTHS[-1]] * halvings)[: halvings + 1]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = ControlNetModel.from_unet(bundle.unet, conditioning_embedding_out_channels=widths)
    memory = torch.channels_last if bundle.device.type == "cpu" else torch.contiguous_format
    return net.to(device=bundle.device, dtype=torch.float32, memory_format=memory)


def load_controlnet(name: str, bundle: Bundle) -> Any:
    """A ControlNet from a diffusers folder or the hub, in the bundle's precision, ready to be asked.

    Raises:
        ModelError: nothing there, files damaged, or made for another family of base models.
    """
    from diffusers import ControlNetModel

    local = settings().resolve(name)
    if not local.is_dir() and name.startswith((".", "/", "~", "data/", "models/")):
        raise ModelError(
            f"ControlNet {name!r} is missing: no such folder.", hint="Name a diffusers folder or a hub id."
        )
    try:
        net = ControlNetModel.from_pretrained(
            str(local) if local.is_dir() else name, torch_dtype=bundle.dtype, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, TypeError, json.JSONDecodeError) as error:
        raise ModelError(
            f"ControlNet {name!r} cannot be loaded: {str(error).splitlines()[0]}.",
            hint="Expected a diffusers folder or hub id with config.json and safetensors weights.",
        ) from error
    check_family(net, bundle, name)
    memory = torch.channels_last if bundle.device.type == "cpu" else torch.contiguous_format
    return net.to(device=bundle.device, memory_format=memory).requires_grad_(False).eval()


def save_memory(unet: Any, net: Any, device: torch.device) -> None:
    """Attention a slice at a time in both; on a GPU a ControlNet's weights lie in the host's memory between layers."""
    for module in (unet, net):
        module.set_attention_slice("auto")
    if device.type == "cuda":
        net.enable_group_offload(onload_device=device, offload_device=torch.device("cpu"), offload_type="leaf_level")


def check_family(net: Any, bundle: Bundle, name: str) -> None:
    """Raise ModelError where a ControlNet was made for other base models than the bundle's."""
    wanted = {key: _plain(getattr(bundle.unet.config, key)) for key in _SAME}
    found = {key: _plain(getattr(net.config, key)) for key in _SAME}
    wrong = [f"{_WORDS[key]} {found[key]} instead of {wanted[key]}" for key in _SAME if found[key] != wanted[key]]
    scale = 2 ** (len(net.config.conditioning_embedding_out_channels) - 1)
    if scale != bundle.scale:
        wrong.append(f"{scale} pixels a latent instead of {bundle.scale}")
    if wrong:
        raise ModelError(
            f"ControlNet {name!r} is of another family than this model: {'; '.join(wrong)}.",
            hint=f"This model's base is {bundle.base!r}: name a ControlNet that was made for it.",
        )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def save_controlnet(net: Any, folder: Path) -> None:
    """A diffusers folder: float16, each file at most 14 MB."""
    half = copy.deepcopy(net).cpu().to(torch.float16)
    half.save_pretrained(folder, safe_serialization=True, max_shard_size="14MB")
    config = folder / "config.json"
    facts = json.loads(config.read_text(encoding="utf-8"))
    facts.pop("_name_or_path", None)  # where the weights came from on this machine is nobody's business
    config.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)


def shown(picture: Image.Image, device: torch.device) -> Tensor:
    """A control picture as ControlNets are shown it: [1, 3, H, W] in [0, 1]."""
    array = np.array(picture.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1)[None].float().to(device) / 255


@dataclass(frozen=True)
class Control:
    """A ControlNet, what it is shown ([1 or B, 3, H, W] in [0, 1]), and how much it counts."""

    net: Any
    image: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class Controlled:
    """A bundle's own UNet under controls: `predict` stands where `Bundle.predict` does. Nothing is copied."""

    bundle: Bundle
    controls: Sequence[Control]

    def predict(self, latents: Tensor, t: Tensor, condition: Condition, guidance: Tensor | None = None) -> Tensor:
        """As Bundle.predict; a batch may be a multiple of the controls' (both halves of guidance)."""
        return self.bundle.predict(latents, t, condition, guidance, residuals=self.residuals(latents, t, condition))

    def residuals(self, latents: Tensor, t: Tensor, condition: Condition) -> Residuals:
        """What all controls add to the UNet's skips and to its middle."""
        from diffusers import MultiControlNetModel

        images = [control.image for control in self.controls]
        dtype = next(self.controls[0].net.parameters()).dtype
        added = self.bundle.family.added(self.bundle, condition, latents)
        down, middle = MultiControlNetModel([control.net for control in self.controls])(
            latents.to(dtype),
            t,
            condition.hidden.to(dtype),
            [image.repeat(len(latents) // len(image), 1, 1, 1).to(dtype) for image in images],
            [control.weight for control in self.controls],
            added_cond_kwargs=None if added is None else {key: value.to(dtype) for key, value in added.items()},
            return_dict=False,
        )
        return Residuals(tuple(down), middle)

"""A loaded latent diffusion model, and the operations that all families share."""

import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.errors import ModelError
from components.image.families.quiet import drop_known_notes
from components.image.families.schedule import NoiseSchedule
from components.image.families.syntax import MAX_CHUNKS
from components.image.families.text import chunks_for, count_tokens
from components.image.recipe import ModelConfig
from components.settings import settings


@dataclass(frozen=True)
class Condition:
    """Encoded prompts: `hidden` [B, T, D] for cross-attention, `pooled` [B, P] where the family has it (SDXL).

    `sizes` [B, 6] are SDXL's (original height, width, crop top, left, target height, width) in pixels (arXiv
    2307.01952, section 2.2); None: as drawn, which is what sampling asks for.
    """

    hidden: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, index: Any) -> "Condition":
        return self._each(lambda part: part[index])

    def to(self, *args: Any) -> "Condition":
        """As Tensor.to."""
        return self._each(lambda part: part.to(*args))

    def expand(self, count: int) -> "Condition":
        """One encoded prompt for `count` pictures."""
        return self[torch.zeros(count, dtype=torch.long)]

    def sized(self, sizes: Tensor | None) -> "Condition":
        """The same prompts under other `sizes`."""
        return replace(self, sizes=sizes)

    def beside(self, other: "Condition") -> "Condition":
        """The empty prompt [1] as often, as long and at the sizes of `other`: it reads the same in every chunk."""
        hidden = self.hidden.repeat(len(other), other.hidden.shape[1] // self.hidden.shape[1], 1)
        return Condition(hidden, None if self.pooled is None else self.pooled.repeat(len(other), 1), other.sizes)

    @staticmethod
    def cat(parts: Sequence["Condition"]) -> "Condition":
        """Batch several of one length. All must have a pooled part, or none; so with sizes."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        sizes = [part.sizes for part in parts if part.sizes is not None]
        hidden = torch.cat([part.hidden for part in parts])
        return Condition(hidden, torch.cat(pooled) if pooled else None, torch.cat(sizes) if sizes else None)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        pooled, sizes = (None if part is None else change(part) for part in (self.pooled, self.sizes))
        return Condition(change(self.hidden), pooled, sizes)


@dataclass(frozen=True)
class Residuals:
    """What ControlNets add to a UNet: to each of its skips, and to its middle; [B, C, h, w] each."""

    skips: tuple[Tensor, ...]
    middle: Tensor

    def keywords(self, dtype: torch.dtype) -> dict[str, Any]:
        """As diffusers' UNet takes them."""
        skips = tuple(skip.to(dtype) for skip in self.skips)
        return {"down_block_additional_residuals": skips, "mid_block_additional_residual": self.middle.to(dtype)}


@dataclass(frozen=True)
class Family:
    """One row per family: how prompts are encoded, what the UNet wants besides, and how kohya names its parts."""

    name: str
    encode: Callable[["Bundle", Sequence[str], int], Condition]
    added: Callable[["Bundle", Condition, Tensor], dict[str, Tensor] | None]
    unet_prefix: str
    modelspec: str
    base_version: str


@dataclass
class Bundle:
    """A model in memory, its weights in `dtype` on `device`; the VAE stays in float32 (SDXL's overflows in half).

    `zero_empty`: the empty prompt is encoded as zeros (SDXL's base).
    """

    family: Family
    unet: Any  # diffusers' and transformers' modules, whose attributes torch's stubs do not know
    vae: Any
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    scheduler_config: dict[str, Any]
    base: str
    device: torch.device
    dtype: torch.dtype
    zero_empty: bool = False
    lcm: dict[str, Any] = field(
        default_factory=dict
    )  # metadata.json of a consistency student (guidance, solver_steps, …); empty: not one
    schedule: NoiseSchedule = field(init=False)

    def __post_init__(self) -> None:
        self.schedule = NoiseSchedule.from_config(self.scheduler_config)
        for module in (self.unet, self.vae, *self.text_encoders):
            module.requires_grad_(False).eval()

    @property
    def scale(self) -> int:
        """Pixels a latent (8 for SD, 4 for the embedded base)."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return int(self.unet.config.in_channels)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str], chunks: int | None = None) -> Condition:
        """Prompts to their condition, each read in exactly `chunks` chunks of the tokenizer's length (77), then cut.

        `(words:1.2)` weighs words. None: as many chunks as the longest prompt needs, at most MAX_CHUNKS.
        """
        return self.family.encode(self, prompts, chunks or min(self.chunks_for(*prompts), MAX_CHUNKS))

    def count_tokens(self, text: str) -> int:
        """Tokens of a prompt without its marks; the largest count where the family has two tokenizers."""
        return max(count_tokens(tokenizer, text) for tokenizer in self.tokenizers)

    def chunks_for(self, *prompts: str) -> int:
        """Chunks that the longest of `prompts` needs; `encode_prompts` cuts nothing of them then."""
        length: int = self.tokenizers[0].model_max_length
        return max(chunks_for(self.count_tokens(prompt), length) for prompt in prompts)

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] to scaled latents [B, C, H/scale, W/scale], the mode of the posterior."""
        encoded = self.vae.encode(images.to(self.device, torch.float32))
        latents: Tensor = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        return latents * float(self.vae.config.scaling_factor)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Scaled latents to pictures [B, 3, H, W] in [0, 1], float32."""
        decoded: Tensor = self.vae.decode(latents.float() / float(self.vae.config.scaling_factor)).sample
        return (decoded / 2 + 0.5).clamp(0, 1)

    def predict(
        self,
        latents: Tensor,
        t: Tensor,
        condition: Condition,
        guidance: Tensor | None = None,
        images: Tensor | None = None,
        residuals: Residuals | None = None,
    ) -> Tensor:
        """The UNet's output for latents [B, C, h, w] at timesteps [B]; `guidance` [B, E] is an embedded scale.

        Args:
            images: what an IP-Adapter on the UNet is shown, [B, 1, D].
            residuals: what ControlNets add. Only a UNet that runs in torch takes either.
        """
        weights = next(self.unet.parameters()).dtype
        added: dict[str, Any] | None = self.family.added(self, condition, latents)
        added = None if added is None else {key: value.to(weights) for key, value in added.items()}
        if images is not None:
            added = {**(added or {}), "image_embeds": [images.to(weights)]}
        output: Tensor = self.unet(
            latents.to(weights),
            t,
            encoder_hidden_states=condition.hidden.to(weights),
            timestep_cond=None if guidance is None else guidance.to(weights),
            added_cond_kwargs=added,
            **({} if residuals is None else residuals.keywords(weights)),
            return_dict=False,
        )[0]
        return output.float()


def pick_device() -> torch.device:
    """The device of the settings; `auto` takes a GPU where there is one."""
    wanted = settings().device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "KYARA_DEVICE is cuda, but torch finds no GPU.", hint="Run `kyara doctor`, or set KYARA_DEVICE=cpu."
        )
    return torch.device(wanted)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a recipe's name; `auto` is half precision on a GPU and float32 elsewhere.

    bfloat16, or float16 on GPUs before Ampere, which torch lets emulate bfloat16 at a fraction of the speed.
    """
    if name == "auto" and device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    dtype: torch.dtype = torch.float32 if name == "auto" else getattr(torch, name)
    return dtype


def load_bundle(
    model: ModelConfig, *, device: torch.device | None = None, adapters: Sequence[Path] = (), scale: float = 1.0
) -> Bundle:
    """Load a base model from a diffusers folder or the hub.

    Args:
        adapters: LoRAs in peft form that are fused into the UNet in float32, `scale` times; it is cast afterwards:
            half-precision weights would round each change by itself, and small ones away.

    Raises:
        ModelError: nothing there, files damaged, or of another family than the recipe says.
    """
    from components.image.families import sd15, sdxl
    from components.image.lora import fuse

    drop_known_notes()
    family = {"sd15": sd15.FAMILY, "sdxl": sdxl.FAMILY}[model.family]
    device = device or pick_device()
    dtype = pick_dtype(model.dtype, device)
    pipeline = _pipeline(model, {"unet": torch.float32 if adapters else dtype, "vae": torch.float32, "default": dtype})
    second = [getattr(pipeline, f"{part}_2", None) for part in ("text_encoder", "tokenizer")]
    if (second[0] is not None) != (family.name == "sdxl"):
        raise ModelError(
            f"{model.base!r} is not of family {family.name!r} (class {type(pipeline).__name__}).",
            hint="Correct model.family.",
        )
    for adapter in adapters:
        fuse(pipeline.unet, adapter, scale)
    memory = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    return Bundle(
        family=family,
        unet=pipeline.unet.to(device=device, dtype=dtype, memory_format=memory),
        vae=pipeline.vae.to(device=device, dtype=torch.float32, memory_format=memory),
        text_encoders=tuple(part.to(device, dtype) for part in (pipeline.text_encoder, second[0]) if part is not None),
        tokenizers=tuple(part for part in (pipeline.tokenizer, second[1]) if part is not None),
        scheduler_config=dict(pipeline.scheduler.config),
        base=model.base,
        device=device,
        dtype=dtype,
        zero_empty=bool(pipeline.config.get("force_zeros_for_empty_prompt")),
    )


def free() -> None:
    """Give the memory of models that nobody holds any more back, the GPU's too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _pipeline(model: ModelConfig, dtype: dict[str, torch.dtype]) -> Any:
    from diffusers import DiffusionPipeline

    local = settings().resolve(model.base)
    looks_local = model.base.startswith((".", "/", "data/")) or local.exists()
    if looks_local and not (local / "model_index.json").is_file():
        raise ModelError(
            f"base model {model.base!r} is missing: no model_index.json in {str(local)!r}.",
            hint="Run `dvc pull` for the embedded one, or name a diffusers folder or a hub id.",
        )
    extra = (
        {} if looks_local and not _has_checker(local) else {"safety_checker": None, "requires_safety_checker": False}
    )
    try:
        return DiffusionPipeline.from_pretrained(
            str(local) if looks_local else model.base,
            revision=None if looks_local else model.revision,
            dtype=dtype,
            **extra,
        )
    except (OSError, ValueError, RuntimeError, json.JSONDecodeError) as error:
        raise ModelError(
            f"base model {model.base!r} cannot be loaded: {error}.", hint="Check the name, the files and the network."
        ) from error


def _has_checker(folder: Path) -> bool:
    return "safety_checker" in json.loads((folder / "model_index.json").read_text(encoding="utf-8"))

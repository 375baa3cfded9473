"""Optional parts that a request may name: another autoencoder, an IP-Adapter (arXiv 2308.06721), SDXL's refiner.

They lie in KYARA_PARTS: `vae/<name>` and `refiner/<name>` are diffusers folders, `ip_adapter/<name>` holds one
`.safetensors` file and its `image_encoder`. Only models with the field's own autoencoder take them: one that was
trained with another has latents and text of its own, and no public part fits it.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from components.errors import RequestError
from components.image.families.bundle import Bundle, Condition, Residuals
from components.settings import settings

T = TypeVar("T")
REFINER_STEPS = 20
"""Of a refiner's whole schedule, of which `strength` is run."""


@dataclass(frozen=True)
class Adapter:
    """An IP-Adapter's attention processors and projection for one UNet, and the encoder of its pictures."""

    processors: dict[str, Any]
    own: dict[str, Any]
    projection: Any
    encoder: Any
    pooled: bool

    @torch.no_grad()
    def look(self, image: Image.Image) -> tuple[Tensor, Tensor]:
        """A picture and nothing, as the projection takes them: [1, 1, D], or [1, 1, T, D] of all patches."""
        from transformers import CLIPImageProcessor

        side = int(self.encoder.config.image_size)
        processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
        pixels = processor(image, return_tensors="pt").pixel_values.to(self.encoder.device, self.encoder.dtype)
        if self.pooled:
            seen = self.encoder(pixels).image_embeds[:, None]
            return seen, torch.zeros_like(seen)
        both = self.encoder(torch.cat([pixels, torch.zeros_like(pixels)]), output_hidden_states=True).hidden_states[-2]
        return both[:1, None], both[1:, None]

    @contextmanager
    def on(self, unet: Any, weight: float) -> Iterator[None]:
        """The UNet looks at pictures within the block."""
        for processor in self.processors.values():
            if hasattr(processor, "scale"):
                processor.scale = [weight]
        unet.set_attn_processor(dict(self.processors))
        unet.encoder_hid_proj, unet.config.encoder_hid_dim_type = self.projection, "ip_image_proj"
        try:
            yield
        finally:
            unet.set_attn_processor(dict(self.own))
            unet.encoder_hid_proj, unet.config.encoder_hid_dim_type = None, None


class Slots:
    """The parts that fit one model; the last used of each kind stays loaded."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._vae = lru_cache(1)(self._load_vae)
        self._adapter = lru_cache(1)(self._load_adapter)
        self._refiner = lru_cache(1)(self._load_refiner)

    def with_vae(self, name: str) -> Bundle:
        """The model with another autoencoder and the same UNet. Raises RequestError."""
        return self._vae(self._find("vae", name))

    def adapter(self, name: str) -> Adapter:
        """An IP-Adapter, ready to be put on. Raises RequestError. Call it while nobody else uses the UNet."""
        return self._adapter(self._find("ip_adapter", name))

    def refiner(self, name: str) -> Any:
        """SDXL's refiner as a diffusers image to image pipeline. Raises RequestError."""
        return self._refiner(self._find("refiner", name))

    def names(self) -> dict[str, list[str]]:
        """What lies in KYARA_PARTS, by kind."""
        folder = settings().parts_dir
        kinds = ("vae", "ip_adapter", "refiner")
        return {kind: [path.name for path in sorted((folder / kind).glob("*")) if path.is_dir()] for kind in kinds}

    def _find(self, kind: str, name: str) -> Path:
        from diffusers import AutoencoderKL

        if not any(isinstance(module, AutoencoderKL) for module in self.bundle.vae.modules()):
            raise RequestError(
                f"{kind} {name!r} does not fit: this model has latents of its own.",
                hint="Only SD 1.5 and SDXL models take it; leave it out.",
            )
        if kind == "refiner" and self.bundle.family.name != "sdxl":
            raise RequestError(f"refiner {name!r} does not fit: this model is no SDXL.", hint="Leave it out.")
        folder = settings().parts_dir / kind
        found = {path.name: path for path in sorted(folder.glob("*")) if path.is_dir()}
        if name not in found:
            known = ", ".join(found) or "none yet"
            raise RequestError(
                f"{kind} {name!r} is unknown.", hint=f"Known: {known}; put folders into {str(folder)!r}."
            )
        return found[name]

    def _load_vae(self, folder: Path) -> Bundle:
        from diffusers import AutoencoderKL, AutoencoderTiny

        def load() -> Bundle:
            tiny = "AutoencoderTiny" in (folder / "config.json").read_text(encoding="utf-8")
            vae = (AutoencoderTiny if tiny else AutoencoderKL).from_pretrained(str(folder), local_files_only=True)
            other = replace(self.bundle, vae=vae.to(self.bundle.device, torch.float32))
            channels = int(vae.config.latent_channels)
            if (channels, other.scale) != (self.bundle.latent_channels, self.bundle.scale):
                raise ValueError(f"it has {channels} channels at 1/{other.scale}")
            return other

        return _fitting("vae", folder, load)

    def _load_adapter(self, folder: Path) -> Adapter:
        from safetensors.torch import load_file
        from transformers import CLIPVisionModelWithProjection

        unet = self.bundle.unet

        def load() -> Adapter:
            state: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
            for name, value in load_file(next(folder.glob("*.safetensors"))).items():
                part, _, rest = name.partition(".")
                state[part][rest] = value
            encoder = CLIPVisionModelWithProjection.from_pretrained(str(folder / "image_encoder"))
            own = dict(unet.attn_processors)
            try:
                unet._load_ip_adapter_weights([state])
                made, projection = dict(unet.attn_processors), unet.encoder_hid_proj
            finally:
                unet.set_attn_processor(dict(own))
                unet.encoder_hid_proj, unet.config.encoder_hid_dim_type = None, None
            for module in (projection, *(each for each in made.values() if isinstance(each, torch.nn.Module))):
                module.requires_grad_(False).eval()
            encoder = encoder.to(self.bundle.device, self.bundle.dtype).eval()
            return Adapter(made, own, projection, encoder, pooled="proj.weight" in state["image_proj"])

        return _fitting("ip_adapter", folder, load)

    def _load_refiner(self, folder: Path) -> Any:
        from diffusers import StableDiffusionXLImg2ImgPipeline

        def load() -> Any:
            pipeline = StableDiffusionXLImg2ImgPipeline.from_pretrained(
                str(folder), vae=self.bundle.vae, dtype=self.bundle.dtype, local_files_only=True, add_watermarker=False
            ).to(self.bundle.device)
            if int(pipeline.unet.config.in_channels) != self.bundle.latent_channels:
                raise ValueError(f"it takes {pipeline.unet.config.in_channels} channels")
            pipeline.set_progress_bar_config(disable=True)
            return pipeline

        return _fitting("refiner", folder, load)


def refined(pipeline: Any, latents: Tensor, prompt: str, negative: str, strength: float, seed: int) -> Tensor:
    """Latents [1, C, h, w] drawn over by a refiner, as SDXL does at the end (arXiv 2307.01952, section 2.5)."""
    made: Tensor = pipeline(
        prompt=prompt,
        negative_prompt=negative,
        image=latents,
        strength=strength,
        num_inference_steps=REFINER_STEPS,
        generator=torch.Generator().manual_seed(seed),
        output_type="latent",
    ).images
    return made.float()


def with_picture(
    bundle: Bundle, adapter: Adapter, seen: tuple[Tensor, Tensor], weight: float
) -> Callable[[Tensor, Tensor, Condition, Tensor | None, Residuals | None], Tensor]:
    """`Bundle.predict` that looks at a picture as well; of two latents the first is what guidance moves away from."""

    def predict(
        latents: Tensor,
        t: Tensor,
        condition: Condition,
        guidance: Tensor | None = None,
        residuals: Residuals | None = None,
    ) -> Tensor:
        shown = seen[0] if len(latents) == 1 else torch.cat([seen[1], seen[0]])
        with adapter.on(bundle.unet, weight):
            return bundle.predict(latents, t, condition, guidance, shown, residuals)

    return predict


def _fitting(kind: str, folder: Path, load: Callable[[], T]) -> T:
    try:
        return load()
    except Exception as error:  # files from elsewhere fail in any way
        lines = itertools.chain(str(error).splitlines(), [type(error).__name__])
        reason = next(line for line in lines if line)[:200]
        raise RequestError(
            f"{kind} {folder.name!r} does not fit this model: {reason}.", hint="It must be made for this base."
        ) from error

"""From noise to latents to pictures, for any family, sampler and engine. A seed gives its picture in any batch."""

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from components.errors import ModelError
from components.image.families.bundle import Bundle, Condition, load_bundle
from components.image.families.syntax import MAX_CHUNKS
from components.image.generation.guidance import Guidance
from components.image.generation.request import SamplerName
from components.image.generation.sampler import (
    Grid,
    combine,
    consistency,
    ddim_grid,
    ddim_step,
    embed_guidance,
    lcm_grid,
    lcm_known,
)
from components.image.generation.schedulers import SCHEDULERS, scheduled
from components.image.generation.start import Keep, Start, mixed
from components.image.recipe import ModelConfig

Kind = SamplerName
Predict = Callable[[Tensor, Tensor, Condition, Tensor | None], Tensor]


def initial_noise(bundle: Bundle, seeds: Sequence[int], height: int, width: int) -> Tensor:
    """Standard normal latents [B, C, height/scale, width/scale], float32 on the CPU; height and width in pixels."""
    shape = (1, bundle.latent_channels, height // bundle.scale, width // bundle.scale)
    return _randn(_generators(seeds), shape)


@torch.no_grad()
def sample(
    bundle: Bundle,
    condition: Condition,
    negative: Condition | None = None,
    *,
    noise: Tensor,
    steps: int,
    guidance: float | None = None,
    kind: Kind = "ddim",
    seeds: Sequence[int],
    predict: Predict | None = None,
    clean: Tensor | None = None,
    strength: float = 1.0,
    keep: Keep | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Denoise; after each step yield how many are done and the clean latents as estimated, last the final ones.

    Args:
        condition, negative: encoded prompts [B] and what to move away from [B] or [1].
        noise: from `initial_noise` with the same seeds.
        guidance: the usual scale; 1 or less asks without `negative`. None ("lcm" only): as distilled. A student with
            embedded guidance takes the scale as an input, within its range, and never asks twice.
        seeds: one per picture; "lcm" and "euler_a" add noise between steps.
        predict: an engine's UNet instead of the bundle's.
        clean: latents [B, C, h, w] to start from, noised to `strength` (SDEdit, arXiv 2108.01073); None: pure noise.
        strength: 1 runs all steps. A student spreads its steps over its own timesteps below `strength`, another sampler
            leaves the first ones out; `steps_from` says how many are left. 0 yields nothing.
        keep: where latents stay as given.
    """
    predict = predict or bundle.predict
    start = Start(None if clean is None else clean.to(bundle.device), strength, keep and keep.to(bundle.device))
    if steps_from(bundle, steps, kind, strength) == 0:
        return
    if guidance is None and kind != "lcm":
        raise ValueError(f"the {kind} sampler needs a guidance scale")
    guided = Guidance.of(bundle, guidance)
    if guided.compares:
        if negative is None:
            raise ValueError("guidance above 1 needs a negative condition")
        condition = Condition.cat([negative.expand(len(noise)) if len(negative) == 1 else negative, condition])
    embedding = _embedded(bundle, guided, len(noise))
    scale = guided.scale if guided.compares else 1.0

    def ask(x: Tensor, t: float) -> Tensor:
        return _ask(predict, x, t, condition, embedding, scale)

    generators = _generators(seeds)
    _randn(generators, (1, *noise.shape[1:]))  # what the initial noise was: go on behind it, as diffusers' pipelines do
    x = noise.to(bundle.device)
    if kind in SCHEDULERS:
        yield from scheduled(kind, bundle.scheduler_config, bundle.schedule, x, steps, ask, generators, start)
    else:
        yield from _own(bundle, x, steps, kind, ask, generators, start)


def _own(
    bundle: Bundle,
    x: Tensor,
    steps: int,
    kind: Kind,
    ask: Callable[[Tensor, float], Tensor],
    generators: Sequence[torch.Generator],
    start: Start,
) -> Iterator[tuple[int, Tensor]]:
    """DDIM and multistep consistency sampling, as functions of tensors (`sampler.py`)."""
    grid = _grid(bundle, steps, kind, start.strength)
    steps = len(grid.timesteps)
    noise, shape = x, (1, *x.shape[1:])
    if start.clean is not None:
        x = mixed(start.clean, noise, bundle.schedule.alphas[grid.timesteps[0]].to(x.device))
    for done, (t, alpha_prev) in enumerate(zip(grid.timesteps, grid.alphas_prev.to(x.device), strict=True), start=1):
        output = ask(x, int(t))
        steps_at = torch.full((len(x),), int(t), device=x.device)
        if kind == "lcm":
            clean = consistency(bundle.schedule, output, x, steps_at, float(bundle.lcm.get("timestep_scaling", 10.0)))
            x = clean if done == steps else ddim_step(clean, _randn(generators, shape).to(x.device), alpha_prev)
        else:
            clean = bundle.schedule.x0(output, x, steps_at)
            x = ddim_step(clean, bundle.schedule.eps(output, x, steps_at), alpha_prev)
        if start.keep is not None:
            known = start.keep.clean if done == steps else mixed(start.keep.clean, noise, alpha_prev)
            x, clean = start.keep.put(x, known), start.keep.put(clean, start.keep.clean)
        yield done, x if done == steps else clean


def steps_from(bundle: Bundle, steps: int, kind: Kind, strength: float) -> int:
    """Steps that are left of `steps` at a strength in [0, 1]: none at 0, all at 1, at least one in between."""
    if strength <= 0:
        return 0
    if kind == "lcm":
        return min(steps, lcm_known(int(bundle.lcm.get("solver_steps", 50)), strength)) if strength < 1 else steps
    return max(1, round(steps * strength))


def pictures(
    bundle: Bundle,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance: float | None = None,
    kind: Kind = "ddim",
    negative: str = "",
    batch_size: int = 16,
    size: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Image.Image]:
    """One picture per prompt and seed; `size` is (width, height) in pixels, default the UNet's own.

    Prompts of equally many chunks share a batch, so that none is drawn otherwise beside a longer one.
    """
    width, height = size or (int(bundle.unet.config.sample_size) * bundle.scale,) * 2
    images: dict[int, Image.Image] = {}
    for chunks, batch in _batches(bundle, prompts, negative, batch_size):
        asked = [seeds[place] for place in batch]
        noise = initial_noise(bundle, asked, height, width)
        condition, empty = (
            bundle.encode_prompts(texts, chunks) for texts in ([prompts[place] for place in batch], [negative])
        )
        options: dict[str, Any] = {"steps": steps, "guidance": guidance, "kind": kind, "seeds": asked}
        latents = last(sample(bundle, condition, empty, noise=noise, **options))
        images |= zip(batch, to_images(bundle.decode_latents(latents)), strict=True)
        if progress is not None:
            progress(len(images), len(prompts))
    return [images[place] for place in range(len(prompts))]


def _batches(
    bundle: Bundle, prompts: Sequence[str], negative: str, batch_size: int
) -> Iterator[tuple[int, Sequence[int]]]:
    """Places of prompts that need equally many chunks with the negative prompt, and how many."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, prompt in enumerate(prompts):
        places[min(bundle.chunks_for(prompt, negative), MAX_CHUNKS)].append(place)
    for chunks, some in sorted(places.items()):
        for start in range(0, len(some), batch_size):
            yield chunks, some[start : start + batch_size]


def last(steps: Iterator[tuple[int, Tensor]]) -> Tensor:
    """Run `sample` to its end: the final latents."""
    ((_, latents),) = deque(steps, maxlen=1)
    return latents


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Pictures [B, 3, H, W] in [0, 1] as 8-bit RGB."""
    array = (pixels.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in array]


def load_variant(
    model: ModelConfig,
    *,
    lora: Path | None = None,
    lcm: Path | None = None,
    lora_scale: float = 1.0,
    device: torch.device | None = None,
) -> Bundle:
    """A base with its LoRAs fused into the UNet; `lcm`: an lcm_distilled_model folder ("full" mode: its UNet instead).

    Raises:
        ModelError: an adapter is missing, damaged or made for another base.
    """
    facts = _lcm_metadata(lcm) if lcm else {}
    adapters = [lora] if lora and facts.get("mode") != "full" else []
    if lcm and facts["mode"] == "lora":
        adapters.append(lcm / "lcm_lora")
    bundle = load_bundle(model, device=device, adapters=adapters, scale=lora_scale)
    if lcm and facts["mode"] == "full":
        bundle.unet = _student(lcm / "unet", bundle)
    bundle.lcm = facts
    return bundle


def _student(folder: Path, bundle: Bundle) -> Any:
    from diffusers import UNet2DConditionModel

    try:
        unet = UNet2DConditionModel.from_pretrained(str(folder), torch_dtype=bundle.dtype, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"distilled UNet {str(folder)!r} cannot be loaded: {error}.", hint="Run the distill stage again."
        ) from error
    memory = torch.channels_last if bundle.device.type == "cpu" else torch.contiguous_format
    return unet.to(device=bundle.device, memory_format=memory).requires_grad_(False).eval()


def _lcm_metadata(folder: Path) -> dict[str, object]:
    try:
        facts: dict[str, object] = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"distilled model {str(folder)!r} has no readable metadata.json: {error}.", hint="Run the distill stage."
        ) from error
    if facts.get("mode") not in ("lora", "full"):
        raise ModelError(
            f"distilled model {str(folder)!r} has mode {facts.get('mode')!r}.", hint="Expected lora or full."
        )
    return facts


def own_guidance(bundle: Bundle, count: int) -> Tensor | None:
    """What a student with embedded guidance is told of it as distilled, [count, E]; None where a UNet takes none."""
    if not getattr(bundle.unet.config, "time_cond_proj_dim", None):
        return None
    return _embedded(bundle, Guidance.of(bundle, None), count)


def _embedded(bundle: Bundle, guidance: Guidance, count: int) -> Tensor | None:
    """What the UNet is told about guidance, [B, E]."""
    if not guidance.embedded:
        return None
    w = torch.full((count,), guidance.scale - 1, device=bundle.device)
    return embed_guidance(w, bundle.unet.config.time_cond_proj_dim)


def _grid(bundle: Bundle, steps: int, kind: Kind, strength: float) -> Grid:
    if kind == "lcm":
        served = bundle.lcm.get("timesteps")
        return lcm_grid(bundle.schedule, steps, int(bundle.lcm.get("solver_steps", 50)), strength, served)
    left = steps_from(bundle, steps, kind, strength)
    return Grid(*(part[-left:] for part in ddim_grid(bundle.scheduler_config, steps)))


def _ask(predict: Predict, x: Tensor, t: float, condition: Condition, embedding: Tensor | None, scale: float) -> Tensor:
    """The model's output, guided: both halves of the condition (negative first) in one batch."""
    if scale <= 1:
        return predict(x, torch.full((len(x),), t, device=x.device), condition, embedding)
    both = torch.cat([x, x])
    uncond, cond = predict(both, torch.full((len(both),), t, device=x.device), condition, None).chunk(2)
    return combine(cond, uncond, scale)


def _generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One per picture, on the CPU, so that a seed means the same on every device and in every batch."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def _randn(generators: Sequence[torch.Generator], shape: tuple[int, ...]) -> Tensor:
    return torch.cat([torch.randn(shape, generator=generator) for generator in generators])

"""The train stage for pictures: a LoRA on the cached dataset; of its checkpoints the one that the judge finds best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from components.artifact import digest_of, replacing
from components.contracts import Judge, RunLog
from components.image.dataset.loader import BatchOrder, CachedDataset
from components.image.export import Made, export
from components.image.families.bundle import Bundle, Condition, load_bundle
from components.image.families.schedule import NoiseSchedule
from components.image.generation.latent import pictures
from components.image.judging import open_judge
from components.image.lora import Adapter, attach
from components.image.promptset import PromptItem, load, with_trigger
from components.image.recipe import TrainConfig
from components.image.sheets import grid
from components.statistics import adherence_of, mean
from components.training.curves import draw_curves
from components.training.loop import Loop, Plan, seed_of
from components.training.speed import autocast, plain_attention

FINAL = "anime-lora-final"
VALIDATION_TIMES = 8
Row = Mapping[str, float]


def train(config: TrainConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    """Train a LoRA; leave checkpoints, adapters, samples, curves and `anime-lora-final/`.

    Raises:
        DataError: the dataset cache cannot be read.
        ModelError: base or judge cannot be loaded, training diverged, or an export differs from what was trained.
    """
    data, held_out = (CachedDataset.open(inputs["dataset"], split) for split in ("train", "val"))
    bundle = load_bundle(config.model)
    adapter = attach(
        bundle.unet, rank=config.rank, alpha=config.alpha, targets=config.targets, seed=config.seed, log=log
    )
    if config.gradient_checkpointing:
        unet: Any = bundle.unet
        unet.enable_gradient_checkpointing()
    trainer = Trainer(config, bundle, adapter, data, held_out, out, log, inputs)
    plan = trainer.plan
    loop = Loop(
        plan,
        bundle.unet,
        adapter.parameters,
        out,
        log,
        fingerprint=f"{config.digest()}-{digest_of(inputs['dataset'])}",
        folder=lambda step: f"checkpoint-epoch-{plan.place(step)['epoch']}",
    )
    with plain_attention(bundle.unet, bundle.device):
        loop.run(trainer.loss, evaluate=trainer.evaluate)
    row, reason = choose(loop.evaluations)
    loop.write_record(chosen={**row, "reason": reason})
    log.message(f"epoch {row['epoch']:.0f} is chosen: {reason}")
    draw_curves(loop.rows, loop.evaluations, out / "curves.png")
    log.file(out / "curves.png")
    log.file(out / loop.record)
    adapter.load(load_file(out / "adapters" / f"epoch-{row['epoch']:.0f}.safetensors"))
    made = Made(int(row["epoch"]), int(row["step"]), reason, data.index, dict(row))
    export(config, made, bundle, adapter.parameters, adapter.config, out / FINAL, log)


@dataclass
class Trainer:
    """What the loop does not know: the loss of a batch, and how good a checkpoint is."""

    config: TrainConfig
    bundle: Bundle
    adapter: Adapter
    data: CachedDataset
    held_out: CachedDataset
    out: Path
    log: RunLog
    inputs: Mapping[str, Path]

    @cached_property
    def order(self) -> BatchOrder:
        """Batches, in whole accumulation groups an epoch."""
        return BatchOrder(self.data, self.config.batch_size, self.config.seed, multiple=self.config.accumulation)

    @property
    def plan(self) -> Plan:
        """The recipe's epochs as optimizer steps."""
        config, epoch = self.config, len(self.order) // self.config.accumulation
        return Plan.of(config, config.epochs * epoch, config.seed, epoch_steps=epoch)

    def loss(self, index: int, generator: Generator) -> Tensor:
        """Loss of micro-batch `index`."""
        batch = self.order[index]
        latents, condition = self.data.batch(batch, generator, empty_share=self.config.empty_caption_share)
        condition = condition.sized(self.data.sizes(batch))
        t = timesteps(len(latents), len(self.bundle.schedule), generator, self.config.timesteps)
        noise = torch.randn(latents.shape, generator=generator)
        with autocast(self.bundle.device, self.config.model.dtype):
            return self._loss(latents, condition, t, noise, self.data.weights(batch, self.config.outside_mask))

    def _loss(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, weights: Tensor | None) -> Tensor:
        device = self.bundle.device
        x0, eps, t = latents.to(device), noise.to(device), t.to(device)
        schedule = self.bundle.schedule
        output = self.bundle.predict(schedule.add_noise(x0, eps, t), t, condition.to(device))
        places = None if weights is None else weights.to(device)
        return denoising_loss(schedule, output, x0, eps, t, self.config.min_snr_gamma, places)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean loss at fixed timesteps and noise on held-out pictures (where there are none, on training pictures)."""
        split = self.held_out if len(self.held_out) else self.data
        times = (torch.arange(VALIDATION_TIMES) + 0.5) / VALIDATION_TIMES * len(self.bundle.schedule)
        losses = []
        for number in range(min(len(split), 32)):
            generator = Generator().manual_seed(seed_of("validation", split.ids[number]))
            latents = split.latents[number].expand(VALIDATION_TIMES, *split.latents[number].shape)
            noise = torch.randn(latents.shape, generator=generator)
            condition = split.condition(split.captions[number][0]).sized(split.sizes([number])).expand(VALIDATION_TIMES)
            weights = split.weights([number] * VALIDATION_TIMES, self.config.outside_mask)
            losses.append(float(self._loss(latents, condition, times.long(), noise, weights)))
        return sum(losses) / len(losses)

    def evaluate(self, step: int) -> dict[str, float]:
        """Keep the adapter, draw samples, measure: validation loss and, with a judge, adherence and style."""
        epoch = self.plan.place(step)["epoch"]
        with replacing(self.out / "adapters" / f"epoch-{epoch}.safetensors") as temporary:
            weights = self.adapter.parameters.items()
            save_file({name: value.detach().cpu().contiguous() for name, value in weights}, temporary)
        drawn = self._sample_pictures()
        if self.config.samples and drawn:
            path = self.out / "samples" / f"epoch-{epoch}.png"
            with replacing(path) as temporary:
                grid(drawn[: self.config.samples], across=4).save(temporary, format="PNG")
            self.log.file(path, "samples")
        return {"val_loss": self.validation_loss(), **self._judge(drawn)}

    def _sample_pictures(self) -> list[Image.Image]:
        """Pictures of the select prompts, which are the samples too; without them, of captions."""
        if not self._prompts:
            return []
        size = (self.config.model.resolution,) * 2
        return pictures(
            self.bundle,
            [with_trigger(item.prompt, self.config.trigger) for item in self._prompts],
            [item.seed for item in self._prompts],
            steps=self.config.sample_steps,
            guidance=self.config.guidance,
            batch_size=self.config.batch_size,
            size=size,
            progress=lambda done, total: self.log.progress(done, total, unit="picture"),
        )

    @cached_property
    def _prompts(self) -> Sequence[PromptItem]:
        count = max(self.config.samples, self.config.select_prompts if self.judge else 0)
        if "prompts" in self.inputs:
            return load(self.inputs["prompts"], "select", count) if count else ()
        known = (*self.held_out.captions, *self.data.captions)[: self.config.samples]
        return [PromptItem(variants[0], {}, seed) for seed, variants in enumerate(known)]

    @cached_property
    def judge(self) -> Judge | None:
        """Who chooses the checkpoint; None: the validation loss does."""
        if self.config.judge is None or self.config.prompts is None or not self.config.select_prompts:
            return None
        return open_judge(self.config.judge, self.inputs)

    def _judge(self, drawn: Sequence[Image.Image]) -> dict[str, float]:
        """Adherence x share of pictures in the asked style: a checkpoint must be good at both."""
        if self.judge is None or self.config.judge is None:
            return {}
        count, style = self.config.select_prompts, self.config.judge.style
        verdict = self.judge.look(list(drawn[:count]))
        hits = self.judge.hits(verdict, [item.attributes for item in self._prompts[:count]], style)
        styled = mean(self.judge.styled(verdict, style))
        followed = mean(adherence_of(hits)) if hits else math.nan
        if math.isnan(followed):  # the prompts ask for nothing that this style can show
            return {"style": styled, "score": styled}
        return {"adherence": followed, "style": styled, "score": styled * followed}


def choose(evaluations: Sequence[Row]) -> tuple[Row, str]:
    """The best checkpoint and why: highest score, then lowest validation loss; without a judge, the latter."""
    if all("score" in row for row in evaluations):
        best = max(evaluations, key=lambda row: (row["score"], -row["val_loss"]))
        return best, f"highest score on the select set ({best['score']:.3f} of {_span(evaluations, 'score')})"
    best = min(evaluations, key=lambda row: row["val_loss"])
    return best, f"lowest validation loss ({best['val_loss']:.4f} of {_span(evaluations, 'val_loss')})"


def _span(rows: Sequence[Row], name: str) -> str:
    values = [row[name] for row in rows]
    return f"{min(values):.4f} to {max(values):.4f}"


def timesteps(count: int, length: int, generator: Generator, density: str | Sequence[float] = "uniform") -> Tensor:
    """Training timesteps [count] in [0, length), evenly spread under `density` (VDM, arXiv 2107.00630, I.1)."""
    offset = torch.rand(1, generator=generator)
    spread = (offset + torch.arange(count) / count) % 1
    places = quantile(spread[torch.randperm(count, generator=generator)], density)
    return (places * length).long().clamp(max=length - 1)


def quantile(u: Tensor, density: str | Sequence[float]) -> Tensor:
    """Where shares u [N] in [0, 1) of a density over [0, 1] lie below: its inverse distribution function.

    Args:
        density: uniform; logit_normal (arXiv 2403.03206, section 3.1, m = 0, s = 1); or shares of equal parts.
    """
    if density == "uniform":
        return u
    if density == "logit_normal":
        normal: Tensor = torch.special.ndtri(u)
        return normal.sigmoid()
    shares = torch.tensor(density, dtype=torch.float64)
    ends = shares.cumsum(0) / shares.sum()
    part = torch.searchsorted(ends, u.double(), right=True).clamp(max=len(shares) - 1)
    inside = (u - ends[part]) * shares.sum() / shares[part] + 1
    return ((part + inside) / len(shares)).to(u)


def denoising_loss(
    schedule: NoiseSchedule,
    output: Tensor,
    x0: Tensor,
    noise: Tensor,
    t: Tensor,
    gamma: float | None,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the prediction [B, C, h, w], weighted per sample by `min_snr_weight`.

    Args:
        weights: of places [B, 1, h, w]; the error of a picture is the weighted mean over its own places.
    """
    squared = (output - schedule.target(x0, noise, t)).square()
    if weights is not None:
        squared = squared * weights / weights.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    errors = squared.mean(dim=(1, 2, 3))
    return (errors if gamma is None else errors * min_snr_weight(schedule, t, gamma)).mean()


def min_snr_weight(schedule: NoiseSchedule, t: Tensor, gamma: float) -> Tensor:
    """Min-SNR weights [B] (arXiv 2303.09556, section 3.4): min(SNR, gamma) on the error of x0; one more for v.

    The squared error of noise is SNR times, that of v is SNR + 1 times that of x0. Nothing is divided by SNR, which is
    0 at a zero terminal SNR. There the paper's weight of v would be 0 too, and the first sampling steps, which decide
    the picture, untrained: (min(SNR, gamma) + 1) / (SNR + 1) is 1 without signal and falls where it is clear.
    """
    snr = schedule.snr(t)
    if schedule.prediction == "epsilon":
        return gamma / snr.clamp(min=gamma)
    clipped = snr.clamp(max=gamma)
    return (clipped + 1) / (snr + 1) if schedule.prediction == "v_prediction" else clipped

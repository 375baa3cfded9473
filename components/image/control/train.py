"""The train stage for ControlNets: a copy of the base's encoder learns what a control picture means; the base stays.

For poses a small reader of key points is trained beside it: what is measured with, and what finds a pose in a picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor

from components.artifact import digest_of, replacing, write_json
from components.contracts import RunLog
from components.image.control.dataset import CONTROLS, read_faces
from components.image.control.drawing import Asked, Sampling, draw
from components.image.control.reading import train_reader
from components.image.control.recipe import ControlTrainConfig
from components.image.dataset.loader import BatchOrder, CachedDataset
from components.image.families.bundle import Bundle, load_bundle
from components.image.generation.control import CARD, NETWORK, READER
from components.image.generation.control.networks import Control, Controlled, make_controlnet, save_controlnet, shown
from components.image.generation.control.shelf import base_digest
from components.image.sheets import sheet
from components.image.train import denoising_loss, timesteps
from components.training.curves import draw_curves
from components.training.loop import Loop, Plan, seed_of
from components.training.speed import autocast, plain_attention

_VALIDATED = 16
_VALIDATION_TIMES = 4


def train(config: ControlTrainConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    """Train a ControlNet; leave checkpoints, samples, curves and `controlnet/` (a diffusers folder, float16).

    Raises:
        DataError: the dataset cannot be read.
        ModelError: the base cannot be loaded, or training diverged.
    """
    bundle = load_bundle(config.model)
    net = make_controlnet(bundle, config.seed)
    trainer = Trainer(config, bundle, net, inputs["dataset"], out, log)
    loop = Loop(
        trainer.plan,
        net,
        dict(net.named_parameters()),
        out,
        log,
        fingerprint=f"{config.digest()}-{digest_of(inputs['dataset'])}",
    )
    side = int(bundle.unet.config.sample_size)
    with plain_attention(bundle.unet, bundle.device), plain_attention(net, bundle.device, side):
        loop.run(trainer.loss, evaluate=trainer.evaluate)
    draw_curves(loop.rows, loop.evaluations, out / "curves.png")
    log.file(out / "curves.png")
    with replacing(out / NETWORK) as folder:
        save_controlnet(net, folder)
        if config.kind == "pose" and config.reader_steps:
            trainer.reader(loop.fingerprint).save(folder / READER)
        write_json(folder / CARD, {"kind": config.kind, "base": base_digest(config.model.base), "steps": config.steps})


@dataclass
class Trainer:
    """What the loop does not know: the loss of a batch, and what a checkpoint draws."""

    config: ControlTrainConfig
    bundle: Bundle
    net: Any
    dataset: Path
    out: Path
    log: RunLog

    @cached_property
    def data(self) -> CachedDataset:
        """What is trained on."""
        return CachedDataset.open(self.dataset, "train")

    @cached_property
    def held_out(self) -> CachedDataset:
        """What it is looked at with; where nothing was held out, what is trained on."""
        held_out = CachedDataset.open(self.dataset, "val")
        return held_out if len(held_out) else self.data

    @cached_property
    def order(self) -> BatchOrder:
        """Batches, in whole accumulation groups an epoch."""
        return BatchOrder(self.data, self.config.batch_size, self.config.seed, multiple=self.config.accumulation)

    @property
    def plan(self) -> Plan:
        """The recipe's steps."""
        config = self.config
        return Plan.of(config, config.steps, config.seed)

    def loss(self, index: int, generator: Generator) -> Tensor:
        """Loss of micro-batch `index`."""
        batch = self.order[index]
        variants = torch.rand(len(batch), generator=generator).tolist()
        empty = (torch.rand(len(batch), generator=generator) < self.config.empty_caption_share).tolist()
        captions = [
            "" if nothing else _one_of(self.data.captions[row], place)
            for row, place, nothing in zip(batch, variants, empty, strict=True)
        ]
        t = timesteps(len(batch), len(self.bundle.schedule), generator, self.config.timesteps)
        latents = torch.stack([self.data.latents[row] for row in batch])
        noise = torch.randn(latents.shape, generator=generator)
        with autocast(self.bundle.device, self.config.model.dtype):
            return self._loss(self.data, batch, captions, t, noise)

    def _loss(
        self, data: CachedDataset, rows: Sequence[int], captions: Sequence[str], t: Tensor, noise: Tensor
    ) -> Tensor:
        device, schedule = self.bundle.device, self.bundle.schedule
        latents = torch.stack([data.latents[row] for row in rows])
        x0, eps, t = latents.to(device), noise.to(device), t.to(device)
        condition = self.bundle.encode_prompts(captions).sized(data.sizes(rows).to(device))
        steered = Controlled(self.bundle, [Control(self.net, self.controls(data, rows))])
        output = steered.predict(schedule.add_noise(x0, eps, t), t, condition)
        weights = data.weights(rows, 0.0)
        places = None if weights is None else weights.to(device)
        return denoising_loss(schedule, output, x0, eps, t, self.config.min_snr_gamma, places)

    def controls(self, data: CachedDataset, rows: Sequence[int]) -> Tensor:
        """What the ControlNet is shown, [B, 3, H, W] in [0, 1]."""
        return torch.cat([shown(self._control(data, row), self.bundle.device) for row in rows])

    def _control(self, data: CachedDataset, row: int) -> Image.Image:
        return Image.open(self.dataset / CONTROLS / f"{data.ids[row]}.png")

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean loss at fixed timesteps and noise, with captions."""
        times = (torch.arange(_VALIDATION_TIMES) + 0.5) / _VALIDATION_TIMES * len(self.bundle.schedule)
        losses = []
        for row in range(min(len(self.held_out), _VALIDATED)):
            generator = Generator().manual_seed(seed_of("validation", self.held_out.ids[row]))
            noise = torch.randn((_VALIDATION_TIMES, *self.held_out.latents[row].shape), generator=generator)
            captions = [self.held_out.captions[row][0]] * _VALIDATION_TIMES
            losses.append(float(self._loss(self.held_out, [row] * _VALIDATION_TIMES, captions, times.long(), noise)))
        return sum(losses) / len(losses)

    def evaluate(self, step: int) -> dict[str, float]:
        """Draw samples beside their controls, and measure the validation loss."""
        if self.config.samples:
            self._sample(step)
        return {"val_loss": self.validation_loss()}

    def _sample(self, step: int) -> None:
        rows = [row for row in range(len(self.held_out)) if self._like_first(row)][: self.config.samples]
        asked = [Asked(self.held_out.captions[row][0], row, self.controls(self.held_out, [row])[0]) for row in rows]
        sampling = Sampling(self.config.sample_steps, self.config.guidance)
        drawn = draw(self.bundle, asked, sampling, self.net, self.out / ".samples" / str(step))
        path = self.out / "samples" / f"step-{step}.png"
        controls = [self._control(self.held_out, row).convert("RGB") for row in rows]
        with replacing(path) as temporary:
            sheet([controls, drawn]).save(temporary, format="PNG")
        self.log.file(path, "samples")

    def _like_first(self, row: int) -> bool:
        """Whether a picture may share a batch with the first one."""
        return self.held_out.latents[row].shape == self.held_out.latents[0].shape

    def reader(self, fingerprint: str) -> Any:
        """The network that reads key points, trained on every picture that was not held out."""
        faces = read_faces(self.dataset)
        kept = [key for key in faces if key not in {*self.held_out.ids} or self.held_out is self.data]
        paths = [self.dataset / "images" / f"{key}.png" for key in kept]
        return train_reader(
            paths, [faces[key] for key in kept], self.config.reader_steps, self.config.seed, self.out / "reader",
            self.log, fingerprint,
        )  # fmt: skip


def _one_of(captions: Sequence[str], place: float) -> str:
    return captions[int(place * len(captions))]

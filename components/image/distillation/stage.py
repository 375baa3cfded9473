"""The distill stage: teacher paths, the loop, and `lcm_distilled_model/`."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Generator, Tensor

from components.artifact import digest_of, replacing, write_json
from components.contracts import RunLog
from components.image.dataset.loader import BatchOrder, CachedDataset
from components.image.distillation.adversary import Adversary
from components.image.distillation.lcm import LCMDistiller, pseudo_huber
from components.image.distillation.paths import Guide, Paths, walk_paths
from components.image.distillation.students import Student, facts, make_student
from components.image.families.bundle import Bundle
from components.image.generation.latent import load_variant, pictures
from components.image.product import LCM, LORA
from components.image.promptset import load, with_trigger
from components.image.recipe import DistillConfig
from components.image.sheets import grid
from components.training.curves import draw_curves
from components.training.loop import Loop, Plan, seed_of
from components.training.speed import plain_attention

TEACHER_STEPS = 20


def distill(config: DistillConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    """Distil base and character LoRA; leave checkpoints, log, curves, samples and `lcm_distilled_model/`.

    Raises:
        DataError: the dataset cache or the prompts cannot be read.
        ModelError: base or LoRA cannot be loaded, or training diverged.
    """
    data = CachedDataset.open(inputs["dataset"], "train")
    parents = {name: digest_of(inputs[name]) for name in ("dataset", "train")}
    fingerprint = hashlib.sha256("-".join([config.digest(), *parents.values()]).encode()).hexdigest()
    bundle = load_variant(config.model, lora=inputs["train"] / LORA)
    prompts = _prompts(config, inputs, data)
    rows = [_samples(bundle, config, prompts)]
    student = make_student(bundle, config, log)
    if config.gradient_checkpointing:
        student.module.enable_gradient_checkpointing()
    distiller = LCMDistiller(student, bundle.schedule, data.condition("").to(bundle.device), config)
    walked = out / f".paths-{fingerprint[:16]}"
    walk = partial(_paths, distiller, bundle, prompts, walked, log) if config.path_share else None
    adversary = None
    if config.adversarial:
        adversary = Adversary(bundle.latent_channels, seed_of(config.seed, "adversary"), bundle.device)
    loop = Loop(
        Plan.of(config, config.steps, config.seed), student.module, student.parameters(), out, log,
        fingerprint=fingerprint, state={**student.state(), **(adversary.state() if adversary else {})},
        record="distill_log.json",
    )  # fmt: skip
    with plain_attention(student.module, bundle.device):
        losses = Losses(distiller, data, walk, bundle.device, adversary)
        loop.run(losses, before=losses.prepare, after=losses.after_step)
    loop.write_record()
    draw_curves(loop.rows, loop.evaluations, out / "curves.png")
    _save(student, config, parents, out / LCM)
    rows.append(_samples(student.sampling_bundle(), config, prompts))
    if rows[0]:  # above the teacher, below the student, equal seeds
        with replacing(out / "samples.png") as temporary:
            grid([*rows[0], *rows[1]], across=len(rows[0])).save(temporary, "PNG")
    for made in (out / "samples.png", out / "curves.png", out / loop.record):
        if made.is_file():
            log.file(made)
    shutil.rmtree(walked, ignore_errors=True)


class Losses:
    """The loss of micro-batch `index`: on points of teacher paths, or on cached latents, by the recipe's share.

    With an `adversary` also what it makes of the student's pictures, beside a batch of the dataset's.

    `walk` gives the paths, from the teacher's pictures or (True) from the student's. What the student draws depends on
    the step alone, so a resumed run walks the same paths, or finds them.
    """

    def __init__(
        self,
        distiller: LCMDistiller,
        data: CachedDataset,
        walk: Callable[[bool], Paths] | None,
        device: torch.device,
        adversary: Adversary | None = None,
    ) -> None:
        self.distiller, self.data, self.walk, self.device, self.adversary = distiller, data, walk, device, adversary
        self.config = distiller.config
        self.order = BatchOrder(data, self.config.batch_size, self.config.seed, multiple=self.config.accumulation)
        self.paths = walk(False) if walk else None
        self.own = False

    def prepare(self, step: int) -> None:
        """Once their time has come, walk paths again from the student's own pictures."""
        if self.walk and not self.own and step >= self.config.on_policy_from * self.config.steps:
            self.paths, self.own = self.walk(True), True

    def after_step(self) -> None:
        """After each optimizer step: the student's average and the adversary follow."""
        self.distiller.student.after_step()
        if self.adversary is not None:
            self.adversary.after_step()

    def __call__(self, index: int, generator: Generator) -> Tensor:
        clean, target = self._estimates(index, generator)
        loss = pseudo_huber(clean, target, self.config.huber_c)
        step = index // self.config.accumulation
        if self.adversary is None or step < self.config.adversarial_from * self.config.steps:
            return loss
        real = torch.stack([self.data.latents[number] for number in self.order[index]]).to(self.device)
        return loss + self.config.adversarial * self.adversary.loss(clean, real, generator)

    def _estimates(self, index: int, generator: Generator) -> tuple[Tensor, Tensor]:
        if self.paths is not None and float(torch.rand((), generator=generator)) < self.config.path_share:
            points = self.paths.points(self.config.batch_size, self.config.first_share, generator)
            return self.distiller.on_paths(points.to(self.device))
        latents, condition = self.data.batch(self.order[index], generator, empty_share=self.config.empty_prompt_share)
        return self.distiller.on_latents(latents.to(self.device), condition.to(self.device), generator)


def _prompts(config: DistillConfig, inputs: Mapping[str, Path], data: CachedDataset) -> list[str]:
    """What the teacher draws: the train set where there is one, else the dataset's captions."""
    if "prompts" in inputs:
        return [with_trigger(item.prompt, config.trigger) for item in load(inputs["prompts"], "train")]
    return [variants[0] for variants in data.captions]


def _paths(
    distiller: LCMDistiller, bundle: Bundle, prompts: Sequence[str], folder: Path, log: RunLog, own: bool
) -> Paths:
    config = distiller.config
    guide = Guide(distiller.student, bundle.schedule, distiller.empty, config.path_steps)
    asked = [prompts[number % len(prompts)] for number in range(config.paths)]
    side = config.model.resolution // bundle.scale
    shape, denoise = (bundle.latent_channels, side, side), distiller.clean if own else None
    return walk_paths(guide, bundle.encode_prompts(asked), shape, config, folder, log, denoise)


def _samples(bundle: Bundle, config: DistillConfig, prompts: Sequence[str]) -> list[Image.Image]:
    """A row of the sample grid: the teacher in twenty steps, or the student in as many as it is served with."""
    student = bool(bundle.lcm)
    return pictures(
        bundle,
        prompts[: config.samples],
        range(len(prompts[: config.samples])),
        steps=config.served_steps if student else TEACHER_STEPS,
        guidance=None if student else sum(config.guidance) / 2,
        kind="lcm" if student else "ddim",
        batch_size=config.batch_size,
        size=(config.model.resolution,) * 2,
    )


def _save(student: Student, config: DistillConfig, parents: Mapping[str, str], folder: Path) -> None:
    with replacing(folder) as temporary:
        temporary.mkdir()
        student.save(temporary)
        write_json(
            temporary / "metadata.json",
            {**facts(config), "base": config.model.base, "trigger": config.trigger, "parents": dict(parents)},
        )

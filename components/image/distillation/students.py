"""The two kinds of student: an adapter on the teacher's own UNet, or a UNet of its own that is told the guidance."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from components.contracts import RunLog
from components.image.export import save_peft
from components.image.families.bundle import Bundle, Condition
from components.image.generation.sampler import embed_guidance
from components.image.lora import attach
from components.image.recipe import DistillConfig
from components.training.speed import autocast

# Width of the guidance embedding (LCM's training scripts).
GUIDANCE_WIDTH = 256


class Student(Protocol):
    """Teacher, student and target network. All take latents [B, C, h, w] at t [B]; `scale` [B] is the guidance."""

    module: Any  # a diffusers UNet

    def predict_teacher(self, latents: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The teacher's output."""

    def predict(self, latents: Tensor, t: Tensor, condition: Condition, scale: Tensor) -> Tensor:
        """The student's output, with gradient."""

    def predict_target(self, latents: Tensor, t: Tensor, condition: Condition, scale: Tensor) -> Tensor:
        """The target network's output."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""

    def state(self) -> Mapping[str, Tensor]:
        """Further tensors that a checkpoint must hold."""

    def after_step(self) -> None:
        """Called after each optimizer step."""

    def save(self, folder: Path) -> None:
        """Write the student as `load_variant` reads it."""

    def sampling_bundle(self) -> Bundle:
        """A bundle whose UNet is the student, to sample with."""


class LoraStudent:
    """LCM-LoRA (arXiv 2311.05556): switched off, the UNet is the teacher. The target is the student, no gradient."""

    def __init__(self, bundle: Bundle, config: DistillConfig, log: RunLog) -> None:
        self.module: Any = bundle.unet
        self._adapter = attach(
            bundle.unet, rank=config.rank, alpha=config.alpha, targets="all", seed=config.seed, log=log
        )
        if bundle.device.type == "cpu":
            self.module.to(memory_format=torch.channels_last)
        self._bundle, self._dtype = copy.copy(bundle), config.model.dtype
        self._bundle.lcm = facts(config)

    def predict_teacher(self, latents: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.module.disable_adapters()
        try:
            return self.predict(latents, t, condition)
        finally:
            self.module.enable_adapters()

    def predict(self, latents: Tensor, t: Tensor, condition: Condition, scale: Tensor | None = None) -> Tensor:
        with autocast(self._bundle.device, self._dtype):
            return self._bundle.predict(latents, t, condition)

    predict_target = predict

    def parameters(self) -> dict[str, nn.Parameter]:
        return self._adapter.parameters

    def state(self) -> Mapping[str, Tensor]:
        return {}

    def after_step(self) -> None:
        pass

    def save(self, folder: Path) -> None:
        save_peft(folder / "lcm_lora", self._adapter.parameters, self._adapter.config, self._bundle.base)

    def sampling_bundle(self) -> Bundle:
        return self._bundle


class FullStudent:
    """All weights, guidance as an input (LCM, section 4.2), a moving average as the target and the result."""

    def __init__(self, bundle: Bundle, config: DistillConfig) -> None:
        self._teacher, self._decay = bundle, config.ema_decay
        self._dtype = "float32" if config.model.dtype == "float32" else "auto"
        self.module: Any = _guided(bundle.unet).to(bundle.device, torch.float32).train()
        self._average = copy.deepcopy(self.module).requires_grad_(False).eval()
        self._student, self._target = copy.copy(bundle), copy.copy(bundle)
        self._student.unet, self._target.unet = self.module, self._average
        self._target.lcm = facts(config)

    def predict_teacher(self, latents: Tensor, t: Tensor, condition: Condition) -> Tensor:
        with self._autocast():
            return self._teacher.predict(latents, t, condition)

    def predict(self, latents: Tensor, t: Tensor, condition: Condition, scale: Tensor) -> Tensor:
        with self._autocast():
            return self._student.predict(latents, t, condition, embed_guidance(scale - 1, GUIDANCE_WIDTH))

    def predict_target(self, latents: Tensor, t: Tensor, condition: Condition, scale: Tensor) -> Tensor:
        with self._autocast():
            return self._target.predict(latents, t, condition, embed_guidance(scale - 1, GUIDANCE_WIDTH))

    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.module.named_parameters())

    def state(self) -> Mapping[str, Tensor]:
        return dict(self._average.named_parameters())

    @torch.no_grad()
    def after_step(self) -> None:
        for average, value in zip(self._average.parameters(), self.module.parameters(), strict=True):
            average.lerp_(value, 1 - self._decay)

    def save(self, folder: Path) -> None:
        self._average.save_pretrained(str(folder / "unet"), max_shard_size="14MB")

    def sampling_bundle(self) -> Bundle:
        return self._target

    def _autocast(self) -> torch.autocast:
        return autocast(self._teacher.device, self._dtype)


def make_student(bundle: Bundle, config: DistillConfig, log: RunLog) -> Student:
    """The student of the recipe's mode; it begins as its teacher, the bundle's UNet."""
    return LoraStudent(bundle, config, log) if config.mode == "lora" else FullStudent(bundle, config)


def facts(config: DistillConfig) -> dict[str, Any]:
    """How a student is asked; metadata.json holds it, `Bundle.lcm` carries it."""
    low, high = config.guidance
    return {
        "mode": config.mode,
        "steps": config.served_steps,
        "guidance": (low + high) / 2,
        "guidance_range": [low, high],
        "timesteps": config.served_timesteps and list(config.served_timesteps),
        "solver_steps": config.ddim_steps,
        "timestep_scaling": config.timestep_scaling,
    }


def _guided(unet: Any) -> Any:
    """A copy of the teacher that takes a guidance embedding; its projection is zero: it begins as the teacher."""
    student: Any = type(unet).from_config({**unet.config, "time_cond_proj_dim": GUIDANCE_WIDTH})
    missing, unexpected = student.load_state_dict(unet.state_dict(), strict=False)
    assert missing == ["time_embedding.cond_proj.weight"] and not unexpected
    nn.init.zeros_(student.time_embedding.cond_proj.weight)
    on_cpu = next(unet.parameters()).device.type == "cpu"
    return student.to(memory_format=torch.channels_last if on_cpu else torch.contiguous_format)

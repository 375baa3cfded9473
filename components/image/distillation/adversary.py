"""A discriminator beside the distillation: what a mean over possible pictures blurs, it finds and has sharpened.

Regression on a teacher's pictures leaves a student's lines soft wherever it cannot know their place; no picture of the
dataset has such lines. A small convolutional network learns to tell the two apart, patch by patch (arXiv 1611.07004),
and the student is trained against it (adversarial distillation, arXiv 2311.17042; on latents, arXiv 2403.12015; with
the data as what is real, arXiv 2405.14867). It sees latents without their local mean, so that it judges lines, not
colours: whose the picture is and what it shows stay the business of the regression.
"""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

WIDTH, DEPTH = 48, 4
"""Channels and 3x3 convolutions: a patch is 9 x 9 latents."""
WINDOW = 7
"""Side of the window of the local mean, in latents."""
NOISE = 0.1
"""Standard deviation of noise on what it sees: few pictures are learnt by heart otherwise (arXiv 1610.04490)."""
RATE = 3e-3
WARM_UP = 20
"""Steps of its own before the student listens."""


class LocalContrast(nn.Module):
    """Latents [B, C, h, w] without their mean over a window; sides of more than WINDOW / 2."""

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] to as many, zero wherever they are flat."""
        around = functional.pad(latents, (WINDOW // 2,) * 4, mode="reflect")
        return latents - functional.avg_pool2d(around, WINDOW, stride=1)


class Adversary:
    """The discriminator and its optimizer. Its step is taken apart from the loss, together with the student's."""

    def __init__(self, channels: int, seed: int, device: torch.device) -> None:
        """`channels`: of the latents."""
        layers: list[nn.Module] = [LocalContrast()]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for width in (channels, *(WIDTH,) * (DEPTH - 1)):
                layers += [nn.Conv2d(width, WIDTH, 3, padding=1), nn.LeakyReLU(0.2)]
            layers.append(nn.Conv2d(WIDTH, 1, 1))
        self.network = nn.Sequential(*layers).to(device)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=RATE, betas=(0.0, 0.99))
        for value in self.network.parameters():  # what a checkpoint restores is there from the start
            first, second = torch.zeros_like(value), torch.zeros_like(value)
            self._optimizer.state[value] = {"step": torch.zeros(()), "exp_avg": first, "exp_avg_sq": second}
        self._seen: list[tuple[Tensor, Tensor]] = []

    def loss(self, clean: Tensor, real: Tensor, generator: Generator) -> Tensor:
        """How real the student's pictures do not look, with gradient to them alone: -D(clean) of the hinge loss.

        Args:
            clean: the student's estimate of the clean latents, [B, C, h, w].
            real: latents of the dataset's pictures [N, C, h, w].
            generator: CPU; draws the noise.
        """
        clean, real = clean.float(), real.float()
        clean, real = (x + NOISE * torch.randn(x.shape, generator=generator).to(x.device) for x in (clean, real))
        self._seen.append((clean.detach(), real))
        if self._steps() < WARM_UP:
            return clean.new_zeros(())
        self.network.requires_grad_(False)
        judged: Tensor = -self.network(clean).mean()
        self.network.requires_grad_(True)
        return judged

    def after_step(self) -> None:
        """Learn from what `loss` saw since the last time, if anything (hinge loss, arXiv 1705.02894)."""
        if not self._seen:
            return
        clean, real = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen = []
        with torch.enable_grad():
            loss = (1 - self.network(real)).relu().mean() + (1 + self.network(clean)).relu().mean()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()

    def state(self) -> Mapping[str, Tensor]:
        """Weights and the optimizer's moments, to be restored in place."""
        tensors = {}
        for name, value in self.network.named_parameters():
            tensors[f"adversary.{name}"] = value
            tensors |= {f"adversary.{name}.{key}": moment for key, moment in self._optimizer.state[value].items()}
        return tensors

    def _steps(self) -> int:
        return int(next(iter(self._optimizer.state.values()))["step"])

"""The embedded base's autoencoder: `AutoencoderTiny`, f4, 128x128x3 <-> 32x32x4, trained from scratch.

Shape, chosen by arithmetic: no normalisation layers (flat colours survive); no residual block at full resolution in the
decoder, whose last two convolutions then act as a learned pixel shuffle. 4 latents for 4x4 pixels are as many numbers
as 16 for 8x8, but learnt much faster: an f8 of the same width had 20.5 dB after 750 steps where an f4 has 25, and 22 dB
where its inner layers were trained alone, on patches folded into channels, until they learnt no more.

Latents come out with mean 0 and variance 1, so `scaling_factor` is 1: a penalty brings them near, `whiten` folds the
rest into the convolutions. At the zero-padded border that is not exact, so the decoder is trained a little after it.
Half-size latents decode to half-size pictures (arXiv 2502.09509): what is coarse in a picture is coarse in them, and a
UNet, which learns coarse before fine, is not asked for noise.
"""

import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from components.artifact import replacing
from components.portraits.world.training import Budget, Training, placed
from components.training.optimizers import muon_and_adam
from components.training.speed import autocast

WIDTH = 48
LATENT_CHANNELS = 4
CROP = 64
NOISE = 0.05
"""Standard deviation of the noise on the latents: the decoder must forgive what the UNet gets slightly wrong."""


def make_autoencoder(width: int = WIDTH) -> AutoencoderTiny:
    """An untrained autoencoder, initialised so that a network without normalisation keeps its signal."""
    model = AutoencoderTiny(
        encoder_block_out_channels=(width,) * 3,
        decoder_block_out_channels=(width,) * 3,
        num_encoder_blocks=(0, 2, 4),
        num_decoder_blocks=(4, 3, 0),
        latent_channels=LATENT_CHANNELS,
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=1.0 / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in model.modules():
        if type(module).__name__ == "AutoencoderTinyBlock":
            _start_as_identity(module.conv)
    return model


def _start_as_identity(branch: nn.Sequential) -> None:
    """Fixup (arXiv 1901.09321): He initialisation inside a residual branch, nearly nothing at its end."""
    convolutions = [layer for layer in branch if isinstance(layer, nn.Conv2d)]
    for layer in convolutions[:-1]:
        layer.weight.data.mul_(math.sqrt(2.0))
    convolutions[-1].weight.data.mul_(0.1)


def reconstruct(model: AutoencoderTiny, images: Tensor) -> Tensor:
    """Through the bottleneck and back; [N, 3, H, W] in [-1, 1]."""
    output: Tensor = model.decode(model.encode(images).latents).sample
    return output.clamp(-1.0, 1.0)


@torch.no_grad()
def reconstruct_all(model: AutoencoderTiny, images: Tensor, batch: int = 32) -> Tensor:
    """uint8 [N, 3, H, W] through the bottleneck and back."""
    device = next(model.parameters()).device
    with autocast(device):
        parts = [reconstruct(model, to_signed(part).to(device)).float().cpu() for part in torch.split(images, batch)]
    return torch.cat(parts).add(1.0).mul(127.5).round().byte()


@torch.no_grad()
def psnr(model: AutoencoderTiny, images: Tensor, batch: int = 32) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB; `images` uint8 [N, 3, H, W]."""
    values = []
    for part in torch.split(images, batch):
        sample = to_signed(part).to(next(model.parameters()).device)
        error = (reconstruct(model, sample) - sample).square().mean((1, 2, 3))
        values.append(10.0 * torch.log10(4.0 / error.clamp_min(1e-10)))
    return torch.cat(values).mean().item()


def to_signed(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] to float in [-1, 1], channels last."""
    return images.float().div(127.5).sub(1.0).contiguous(memory_format=torch.channels_last)


def crops(images: Tensor, count: int, generator: torch.Generator, size: int = CROP) -> Tensor:
    """`count` random squares of pictures; a third are shrunk from a wider one, so that lines get thinner."""
    wide = min(int(size * 1.5), images.shape[-1])
    parts = []
    for picture, shrink in zip(
        torch.randint(len(images), (count,), generator=generator).tolist(),
        (torch.rand(count, generator=generator) < 0.33).tolist(),
        strict=True,
    ):
        side = wide if shrink else size
        top, left = torch.randint(images.shape[-1] - side + 1, (2,), generator=generator).tolist()
        part = images[picture, :, top : top + side, left : left + side]
        parts.append(_shrunk(part, size) if shrink else part)
    return to_signed(torch.stack(parts))


def _shrunk(part: Tensor, size: int) -> Tensor:
    return functional.interpolate(part[None].float(), size=size, mode="bilinear", antialias=True)[0].round().byte()


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Other colours, grey, negative, mirrored: makes it fit for a style that it never saw. [N, 3, S, S]."""
    count = len(images)
    draw = torch.rand(count, 5, generator=generator)
    permuted = torch.stack([image[torch.randperm(3, generator=generator)] for image in images])
    images = torch.where(_pick(draw[:, 0] < 0.2), permuted, images)
    images = torch.where(_pick(draw[:, 1] < 0.05), -images, images)
    images = torch.where(_pick(draw[:, 2] < 0.05), images.mean(1, keepdim=True).expand_as(images), images)
    gain = 0.5 + torch.rand(count, 3, 1, 1, generator=generator)
    shift = 0.6 * torch.rand(count, 3, 1, 1, generator=generator) - 0.3
    images = torch.where(_pick(draw[:, 3] < 0.2), (images * gain + shift).clamp(-1.0, 1.0), images)
    images = torch.where(_pick(draw[:, 4] < 0.5), images.flip(-1), images)
    return images.transpose(2, 3) if torch.rand(1, generator=generator).item() < 0.3 else images


def _pick(mask: Tensor) -> Tensor:
    return mask[:, None, None, None]


def autoencoder_loss(
    model: AutoencoderTiny,
    images: Tensor,
    generator: torch.Generator,
    noise: float = NOISE,
    half: float = 0.0,
) -> Tensor:
    """Reconstruction from noisy latents, and a pull of each latent channel to mean 0, variance 1.

    `half`: weight of the picture at half size from latents at half size.
    """
    latents = model.encode(images).latents.float()
    disturbed = latents + noise * torch.randn(latents.shape, generator=generator).to(latents)
    loss = _difference(model.decode(disturbed).sample.float(), images) + 0.02 * _unwhiteness(latents)
    if half:
        small = model.decode(functional.avg_pool2d(latents, 2)).sample.float()
        loss = loss + half * _difference(small, functional.avg_pool2d(images, 2))
    return loss


def _unwhiteness(latents: Tensor) -> Tensor:
    """How far the channels are from mean 0 and variance 1."""
    return (latents.mean((0, 2, 3)).square() + (latents.std((0, 2, 3)) - 1.0).square()).mean()


def _difference(found: Tensor, wanted: Tensor) -> Tensor:
    """L1 + 2 MSE, of which the lines count once more: L1 of the differences of neighbouring pixels."""
    error = found - wanted
    edges = (error[..., 1:, :] - error[..., :-1, :]).abs().mean() + (error[..., 1:] - error[..., :-1]).abs().mean()
    return error.abs().mean() + 2.0 * error.square().mean() + 0.5 * edges


@torch.no_grad()
def half_psnr(model: AutoencoderTiny, images: Tensor) -> float:
    """PSNR in dB of half-size pictures decoded from half-size latents; `images` uint8 [N, 3, H, W]."""
    wanted = functional.avg_pool2d(to_signed(images), 2)
    latents = functional.avg_pool2d(encode(model, images), 2)
    found = torch.cat([model.decode(part).sample for part in torch.split(latents.to(model.device), 32)]).cpu()
    error = (found.clamp(-1.0, 1.0) - wanted).square().mean((1, 2, 3))
    return (10.0 * torch.log10(4.0 / error.clamp_min(1e-10))).mean().item()


def spectrum(latents: Tensor) -> list[float]:
    """Share of the energy of [N, C, h, w], without the mean, in the bands up to 1/8, 1/4, 1/2 and 1 of the range."""
    power = torch.fft.fft2(latents.float()).abs().square().mean((0, 1))
    power[0, 0] = 0.0
    rows, columns = (torch.fft.fftfreq(side).abs() * 2.0 for side in latents.shape[-2:])
    radius = torch.maximum(rows[:, None], columns[None, :])
    edges = (0.0, 0.125, 0.25, 0.5, 1.0)
    bands = [power[(radius > low) & (radius <= high)].sum() for low, high in itertools.pairwise(edges)]
    return [round(float(band / power.sum()), 3) for band in bands]


def train_autoencoder(
    images: Tensor,
    folder: Path,
    budget: Budget,
    *,
    validation: Tensor | None = None,
    device: str = "cpu",
    batch: int = 12,
    model: AutoencoderTiny | None = None,
    decoder_only: bool = False,
    half: float = 0.5,
    rate: float = 1.0,
    report: Callable[[str], None] = print,
    report_every: int = 250,
) -> AutoencoderTiny:
    """Train on uint8 `images` [N, 3, H, W]; resumes from `folder`.

    Args:
        model: what to go on from; without it, a new one.
        decoder_only: leave the encoder, hence the latents that a UNet was trained on, as they are.
        half: weight of half-size pictures from half-size latents.
        rate: factor on the learning rate.
    """
    torch.manual_seed(0)
    model = placed((model or make_autoencoder()).float(), device)
    model.encoder.requires_grad_(not decoder_only)
    training = Training(model, muon_and_adam(model, 2.5e-3 * rate, 1e-3 * rate), budget, folder, decay=0.998)

    def loss(generator: torch.Generator) -> Tensor:
        size = min(CROP if training.progress < 0.7 else 2 * CROP, images.shape[-1])
        count = batch if size <= CROP else max(batch // 4, 1)
        sample = augmented(crops(images, count, generator, size), generator).to(device)
        with autocast(torch.device(device)):
            return autoencoder_loss(model, sample, generator, half=half)

    for step in training.steps(loss):
        if step % report_every == 0:
            quality = f" PSNR {psnr(model, validation[:24]):.2f} dB" if validation is not None else ""
            report(f"autoencoder: {training.line()}{quality}")
    model.load_state_dict(training.average.weights)
    if not decoder_only:
        whiten(model, images[:512])
    model.eval()
    return model


@torch.no_grad()
def encode(model: AutoencoderTiny, images: Tensor, batch: int = 32, fast: bool = False) -> Tensor:
    """Latents float32 [N, C, h, w] of uint8 `images` [N, 3, H, W]; `fast`: in bfloat16 where that pays."""
    device = next(model.parameters()).device
    parts = []
    with autocast(device) if fast else contextlib.nullcontext():
        for part in torch.split(images, batch):
            parts.append(model.encode(to_signed(part).to(device)).latents.float().cpu())
    return torch.cat(parts)


def cached_latents(model: AutoencoderTiny, images: Tensor, path: Path) -> Tensor:
    """`encode`, kept in the safetensors file `path` for as long as the encoder and the pictures stay the same."""
    digest = hashlib.sha256(images.numpy().tobytes())
    for value in model.encoder.state_dict().values():
        digest.update(value.float().cpu().numpy().tobytes())
    if path.exists():
        with safe_open(path, "pt") as file:
            if file.metadata().get("digest") == digest.hexdigest():
                known: Tensor = file.get_tensor("latents")
                return known
    latents = encode(model, images, fast=True).contiguous()
    with replacing(path) as temporary:
        save_file({"latents": latents}, temporary, metadata={"digest": digest.hexdigest()})
    return latents


@torch.no_grad()
def whiten(model: AutoencoderTiny, images: Tensor) -> None:
    """Fold what is left of mean and scale into the encoder's last and the decoder's first convolution.

    Training already brings both near 0 and 1, so the decoder's tanh(z / 3) 3 sees nearly the same values as before.
    """
    latents = encode(model, images)
    last, first = model.encoder.layers[-1], model.decoder.layers[0]
    mean, scale = (value.to(last.weight) for value in (latents.mean((0, 2, 3)), latents.std((0, 2, 3))))
    last.weight.div_(scale[:, None, None, None])
    last.bias.sub_(mean).div_(scale)
    first.bias.add_((first.weight.sum((2, 3)) * mean).sum(1))
    first.weight.mul_(scale[None, :, None, None])

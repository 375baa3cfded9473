"""Trains the judge on labelled renders, damaged the way generated pictures are, and measures it on held-out ones."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from components.artifact import replacing
from components.portraits.judge import STYLE, Judge, JudgeNetwork
from components.portraits.vocabulary import ATTRIBUTES, STYLES
from components.portraits.world.autoencoder import reconstruct, to_signed
from components.portraits.world.renders import Portrait, sample_portraits
from components.portraits.world.renders import render as draw
from components.portraits.world.training import Budget, Training, placed
from components.training.optimizers import muon_and_adam
from components.training.speed import autocast

HEADS: Mapping[str, tuple[str, ...]] = {**ATTRIBUTES, STYLE: STYLES}
UNKNOWN = -100
"""Label of an attribute that the picture's style cannot show; `cross_entropy` skips it."""

Damage = Callable[[Tensor], Tensor]


def labels(portraits: Sequence[Portrait]) -> dict[str, Tensor]:
    """Head -> index of the value, int64 [N]; `UNKNOWN` where the style cannot show the attribute."""
    rows = [{**portrait.visible, STYLE: portrait.style} for portrait in portraits]
    return {
        head: torch.tensor([values.index(row[head]) if head in row else UNKNOWN for row in rows])
        for head, values in HEADS.items()
    }


def judge_loss(network: JudgeNetwork, images: Tensor, answers: Mapping[str, Tensor]) -> Tensor:
    """Mean over the heads of the cross-entropy over the pictures that can show the head's attribute."""
    logits = network(images)[1]
    known = [head for head in answers if bool((answers[head] != UNKNOWN).any())]
    losses = [functional.cross_entropy(logits[head].float(), answers[head], label_smoothing=0.02) for head in known]
    return torch.stack(losses).mean()


def damaged(images: Tensor, generator: torch.Generator, decode: Damage | None = None) -> Tensor:
    """A little blur, noise, decoder artefacts and colour drift, each on some of [N, 3, H, W] in [-1, 1].

    Nothing that takes away what a head must see: a mouth's line is two pixels wide, and the drift stays far below the
    distance of two colour classes. The first quarter of the batch stays as it was drawn.
    """
    count = len(images)
    part = slice(count // 4, count)
    bad = images[part]
    if decode is not None:
        some = slice(0, len(bad) // 2)
        bad = torch.cat([decode(bad[some]), bad[some.stop :]])
    draw = torch.rand(len(bad), 5, generator=generator).to(bad)
    pick = draw[:, :, None, None, None]
    soft = functional.avg_pool2d(functional.pad(bad, (1, 1, 1, 1), "replicate"), 3, 1)
    bad = torch.where(pick[:, 0] < 0.4, bad.lerp(soft, 0.5 * pick[:, 4]), bad)
    noise = torch.randn(bad.shape, generator=generator).to(bad) * 0.08 * draw[:, 1, None, None, None]
    bad = torch.where(pick[:, 2] < 0.4, bad + noise, bad)
    gain = 1.0 + 0.06 * (2.0 * torch.rand(len(bad), 3, 1, 1, generator=generator).to(bad) - 1.0)
    bad = torch.where(pick[:, 3] < 0.5, bad * gain, bad).clamp(-1.0, 1.0)
    return torch.cat([images[: part.start], bad])


def train_judge(
    images: Tensor,
    portraits: Sequence[Portrait],
    folder: Path,
    budget: Budget,
    *,
    autoencoder: torch.nn.Module | None = None,
    device: str = "cpu",
    batch: int = 48,
    width: int = 32,
    features: int = 128,
    start: Path | None = None,
    report: Callable[[str], None] = print,
    report_every: int = 50,
) -> JudgeNetwork:
    """Train on uint8 `images` [N, 3, H, W] and labels; resumes from `folder`; `start` is a judge to go on from."""
    torch.manual_seed(0)
    network = JudgeNetwork(HEADS, width, features) if start is None else Judge.load(start).network.train()
    network = placed(network, device)
    training = Training(network, muon_and_adam(network, 5e-3, 2e-3), budget, folder, decay=0.99)
    answers = labels(portraits)
    shares = 1.0 / torch.bincount(answers[STYLE])[answers[STYLE]]

    def decode(sample: Tensor) -> Tensor:
        with torch.no_grad(), autocast(torch.device(device)):
            return reconstruct(autoencoder, sample).float()

    def loss(generator: torch.Generator) -> Tensor:
        chosen = torch.multinomial(shares, batch, generator=generator)
        sample = to_signed(images[chosen]).to(device)
        sample = damaged(sample, generator, decode if autoencoder is not None and training.step % 4 == 0 else None)
        with autocast(torch.device(device)):
            return judge_loss(network, sample, {head: value[chosen].to(device) for head, value in answers.items()})

    for step in training.steps(loss):
        if step % report_every == 0:
            report(f"judge: {training.line()}")
    network.load_state_dict(training.average.weights)
    network.eval()
    return network


@torch.no_grad()
def answers_right(
    network: JudgeNetwork, images: Tensor, portraits: Sequence[Portrait], batch: int = 64
) -> dict[str, Tensor]:
    """Head -> 1 for a right answer, 0 for a wrong one, NaN where the style cannot show the attribute, [N]."""
    device = next(network.parameters()).device
    guesses: dict[str, list[Tensor]] = {head: [] for head in HEADS}
    for part in torch.split(images, batch):
        for head, logits in network(to_signed(part).to(device))[1].items():
            guesses[head].append(logits.argmax(1).cpu())
    answers = labels(portraits)
    return {
        head: torch.where(answers[head] == UNKNOWN, torch.nan, (torch.cat(guesses[head]) == answers[head]).float())
        for head in HEADS
    }


def accuracy(network: JudgeNetwork, images: Tensor, portraits: Sequence[Portrait]) -> dict[str, float]:
    """Head -> share of right answers among the pictures whose style can show the attribute."""
    return _means(answers_right(network, images, portraits))


def accuracy_by_style(
    network: JudgeNetwork, images: Tensor, portraits: Sequence[Portrait]
) -> dict[str, dict[str, float]]:
    """Style -> head -> share of right answers."""
    right = answers_right(network, images, portraits)
    styles = sorted({portrait.style for portrait in portraits})
    of = {style: torch.tensor([portrait.style == style for portrait in portraits]) for style in styles}
    return {style: _means({head: hits[of[style]] for head, hits in right.items()}) for style in styles}


def _means(right: Mapping[str, Tensor]) -> dict[str, float]:
    means = {head: float(hits.nanmean()) for head, hits in right.items()}
    return {head: value for head, value in means.items() if value == value}


def save_judge(
    network: JudgeNetwork,
    folder: Path,
    measured: Mapping[str, float],
    table: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
    *,
    width: int = 32,
    features: int = 128,
) -> Path:
    """Write `model.safetensors` (fp16) and `config.json` with the measured accuracies, readable by `Judge.load`."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().half().cpu().contiguous() for name, value in network.state_dict().items()}
    config = {
        "heads": {head: list(values) for head, values in HEADS.items()},
        "size": 128,
        "width": width,
        "features": features,
        "accuracy": {head: round(value, 5) for head, value in measured.items()},
        "table": {
            pictures: {
                style: {head: round(value, 4) for head, value in heads.items()} for style, heads in styles.items()
            }
            for pictures, styles in (table or {}).items()
        },
    }
    with replacing(folder / "model.safetensors") as temporary:
        save_file(weights, temporary)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return folder


def build_reference(judge: Judge, folder: Path, style: str, count: int = 512, seed: int = 7_000_000) -> Path:
    """Features of held-out renders of `style`, float16 [count, D], to `folder/<style>.safetensors`, and a JSON.

    The combinations are those that no training set holds; the seed is one that no other set uses.
    """
    pictures = np.stack(
        [np.asarray(draw(portrait)) for portrait in sample_portraits(count, seed, (style,), held_out=True)]
    )
    features = torch.from_numpy(judge.look(pictures).features).half()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{style}.safetensors"
    save_file({"features": features}, path)
    config = {"judge_digest": judge.digest, "style": style, "count": count, "seed": seed}
    path.with_suffix(".json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return path

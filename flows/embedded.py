"""Makes the embedded world from scratch: renders -> autoencoder -> latents -> base model, judge -> reference features.

python -m flows.embedded                    everything that is not there yet, in order; a killed run goes on
python -m flows.embedded --warm-start       go on from the weights in data/ instead of from noise
python -m flows.embedded --report           how well the base follows the *select* prompts, and a grid to look at
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import KyaraError
from components.portraits.vocabulary import DEMO_STYLE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from components.image.promptset import SetName

STEPS = ("renders", "autoencoder", "judge", "base", "reference")
MINUTES: Mapping[str, Mapping[str, float]] = {
    "cpu": {"autoencoder": 50.0, "judge": 20.0, "base": 240.0},
    "cuda": {"autoencoder": 8.0, "judge": 4.0, "base": 30.0},
}
"""Training budgets; two cores and one GPU."""

RENDERS = {"train": (32_000, 0, False), "lorelei": (6_000, 1, False), "heldout": (2_500, 2, True)}
"""Set -> pictures, seed, whether it shows the held-out combinations."""
FOREIGN = (6_000, 3)
"""Pictures of every other style, for the autoencoder alone, and their seed."""


@dataclass(frozen=True)
class World:
    """Where things are: `work` holds renders and checkpoints, `data` what is versioned."""

    work: Path
    data: Path
    device: str
    minutes: Mapping[str, float]
    warm_start: bool
    pictures: int | None = None
    """Of the training pictures, how many the base sees; all by default."""

    def renders(self, name: str) -> Path:
        return self.work / f"{name}.npz"

    @property
    def autoencoder(self) -> Path:
        """The one that was trained here; else the one in `data`, so that a warm start may skip that step."""
        trained = self.work / "autoencoder" / "model"
        return trained if trained.exists() else self.data / "base" / "vae"


def make_renders(world: World) -> None:
    """Training pictures of the base styles, of the demo's style (for the judge alone), and held-out ones of all."""
    from components.portraits.vocabulary import BASE_STYLES, STYLES
    from components.portraits.world import renders

    styles = {"train": BASE_STYLES, "lorelei": (DEMO_STYLE,), "heldout": STYLES}
    for name, (count, seed, held_out) in RENDERS.items():
        if not world.renders(name).exists():
            renders.build(world.renders(name), count, seed, styles[name], held_out, workers=2)
    if not world.renders("foreign").exists():
        renders.build_foreign(world.renders("foreign"), *FOREIGN, workers=2)


def make_autoencoder(world: World) -> None:
    """Both halves, then the decoder on the whitened latents. It may see every style.

    After a warm start the latents are near those that the UNet in `data/` knows; its own warm start does the rest.
    """
    import torch
    from diffusers import AutoencoderTiny

    from components.portraits.world import autoencoder as parts
    from components.portraits.world.renders import load, load_pictures
    from components.portraits.world.training import Budget

    sets = [load_pictures(world.renders(name))[:16_000] for name in ("train", "lorelei", "foreign")]
    images = torch.cat([as_planes(pictures) for pictures in sets])
    unseen, portraits = load(world.renders("heldout"))
    folder, minutes = world.work / "autoencoder", world.minutes["autoencoder"]
    validation = as_planes(unseen[[portrait.style == DEMO_STYLE for portrait in portraits]])
    train = partial(parts.train_autoencoder, images, validation=validation, device=world.device, report=say)

    start, whole = world.data / "base" / "vae", folder / "joint" / "model"
    if not whole.exists():
        model = AutoencoderTiny.from_pretrained(start) if world.warm_start else parts.make_autoencoder()
        rate = 0.5 if world.warm_start else 1.0
        train(folder / "joint", Budget(minutes=0.8 * minutes), model=model, rate=rate).save_pretrained(whole)
    last = Budget(minutes=0.2 * minutes)
    model = AutoencoderTiny.from_pretrained(whole)
    model = train(folder / "decoder", last, model=model, decoder_only=True, rate=0.25)
    model.save_pretrained(folder / "model")
    say(f"autoencoder: energy of the latents by frequency {parts.spectrum(parts.encode(model, validation))}")
    for style in sorted({portrait.style for portrait in portraits}):
        chosen = as_planes(unseen[[portrait.style == style for portrait in portraits]][:96])
        values = f"{parts.psnr(model, chosen):.2f} dB, {parts.half_psnr(model, chosen):.2f} dB at half size"
        say(f"autoencoder: {style}: PSNR {values} on held-out renders")


def make_judge(world: World) -> None:
    """Trained on renders of all styles, damaged; measured on held-out ones, as they are and through the autoencoder."""
    import numpy as np
    from diffusers import AutoencoderTiny

    from components.portraits.judge import Judge
    from components.portraits.world.autoencoder import reconstruct_all
    from components.portraits.world.judge_training import accuracy, accuracy_by_style, save_judge, train_judge
    from components.portraits.world.renders import load
    from components.portraits.world.training import Budget

    sets = [load(world.renders(name)) for name in ("train", "lorelei")]
    images = as_planes(np.concatenate([pictures for pictures, _ in sets]))
    portraits = [portrait for _, some in sets for portrait in some]
    autoencoder = AutoencoderTiny.from_pretrained(world.autoencoder).float().to(world.device)
    budget = Budget(minutes=world.minutes["judge"])
    network = train_judge(
        images,
        portraits,
        world.work / "judge",
        budget,
        autoencoder=autoencoder,
        device=world.device,
        start=world.data / "judge" if world.warm_start else None,
        report=say,
    )
    pictures, unseen = load(world.renders("heldout"))
    planes = as_planes(pictures)
    both = {"renders": planes, "round_trips": reconstruct_all(autoencoder, planes)}
    table = {name: accuracy_by_style(network, shown, unseen) for name, shown in both.items()}
    save_judge(network, world.data / "judge", accuracy(network, planes, unseen), table)
    for name, styles in table.items():
        for style, heads in styles.items():
            say(f"judge: {name} of {style}: " + ", ".join(f"{head} {value:.3f}" for head, value in heads.items()))
    value, where = Judge.load(world.data / "judge").worst
    say(f"judge: worst {value:.3f}: {where}")


def make_base(world: World) -> None:
    """Latents once, then the UNet and the text encoder together."""
    import torch
    from diffusers import AutoencoderTiny

    from components.portraits.world.autoencoder import cached_latents
    from components.portraits.world.base import train_base
    from components.portraits.world.renders import load, load_faces
    from components.portraits.world.training import Budget

    images, portraits = load(world.renders("train"))
    images, portraits = images[: world.pictures], portraits[: world.pictures]
    faces = torch.from_numpy(load_faces(world.renders("train"))[: world.pictures])
    autoencoder = AutoencoderTiny.from_pretrained(world.autoencoder).float().to(world.device)
    latents = cached_latents(autoencoder, as_planes(images), world.work / "latents.safetensors")
    start = world.data / "base" if world.warm_start else None
    budget = Budget(minutes=world.minutes["base"])
    out = world.data / "base"
    train_base(
        latents,
        faces,
        portraits,
        autoencoder,
        world.work / "base",
        budget,
        device=world.device,
        start=start,
        out=out,
        report=say,
    )


def make_reference(world: World) -> None:
    """What the demo's style looks like to the judge."""
    from components.portraits.judge import Judge
    from components.portraits.world.judge_training import build_reference

    build_reference(Judge.load(world.data / "judge"), world.data / "reference", DEMO_STYLE)


def report(world: World, name: "SetName", count: int, guidance: Sequence[float]) -> None:
    """What the base makes of a set of prompts in every style, for each guidance scale; a grid beside true renders."""
    from components.image import promptset
    from components.portraits.judge import Judge
    from components.portraits.world.report import grid, measure

    items = promptset.load(world.data / "prompts", name, count)
    judge = Judge.load(world.data / "judge")
    for scale in guidance:
        found = measure(world.data / "base", judge, items, guidance=scale, device=world.device)
        sheet = grid(found, world.work / f"grid_{name}_{scale:g}.png")
        metrics = found.summary()
        sheet.with_suffix(".json").write_text(json.dumps(metrics, indent=1) + "\n", "utf-8")
        say(f"base: {name}, guidance {scale:g}: " + json.dumps(metrics, indent=1))


def as_planes(images: "NDArray[np.uint8]") -> "Tensor":
    """uint8 [N, H, W, 3] to a uint8 tensor [N, 3, H, W]."""
    import torch

    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def say(line: str) -> None:
    """A line of progress, at once."""
    print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps that are asked for; 0 when all of them ended well."""
    import torch

    from components.image.families.quiet import drop_known_notes

    drop_known_notes()
    asked = _parser().parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    minutes = {step: asked.minutes or value * asked.budget for step, value in MINUTES[device].items()}
    world = World(asked.work, asked.data, device, minutes, asked.warm_start, asked.pictures)
    asked.work.mkdir(parents=True, exist_ok=True)
    try:
        if asked.report:
            report(world, asked.set, asked.count, asked.guidance)
            return 0
        for step in asked.steps:
            say(f"{step}: on {device}")
            MAKERS[step](world)
    except KyaraError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows.embedded", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--work", type=Path, default=Path("artifacts/embedded"), help="renders and checkpoints")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where base, judge and reference are written")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--budget", type=float, default=1.0, help="factor on all training times")
    parser.add_argument("--minutes", type=float, help="each training's budget, all sessions of it together")
    parser.add_argument("--pictures", type=int, help="how many of the training pictures the base sees (default: all)")
    parser.add_argument("--warm-start", action="store_true", help="go on from the weights in --data")
    parser.add_argument("--report", action="store_true", help="measure and show the base, train nothing")
    parser.add_argument("--set", choices=("train", "select", "calibrate", "short"), default="select", help="of prompts")
    parser.add_argument("--count", type=int, default=32, help="prompts of the report, for each style")
    parser.add_argument("--guidance", type=float, nargs="+", default=[4.0], help="guidance scales of the report")
    return parser


MAKERS: Mapping[str, Callable[[World], None]] = {
    "renders": make_renders,
    "autoencoder": make_autoencoder,
    "judge": make_judge,
    "base": make_base,
    "reference": make_reference,
}

if __name__ == "__main__":
    raise SystemExit(main())

"""The evaluate stage for ControlNets: held-out examples drawn with and without it, and by a student in few steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from components.artifact import digest_of, write_json
from components.contracts import METRICS, RunLog
from components.errors import RecipeError
from components.image.control.dataset import CONTROLS, read_faces
from components.image.control.drawing import Asked, Sampling, draw
from components.image.control.metrics import (
    CONTROLLED,
    FEW,
    FEW_FREE,
    FREE,
    POSE,
    SKETCH,
    Measure,
    control_metrics,
    pose_errors,
    sketch_agreement,
)
from components.image.control.reading import reader_errors
from components.image.control.recipe import ControlEvaluateConfig
from components.image.dataset.loader import CachedDataset
from components.image.families.bundle import Bundle, free, load_bundle
from components.image.generation.control import NETWORK, READER
from components.image.generation.control.keypoints import KeypointReader
from components.image.generation.control.networks import load_controlnet, shown
from components.image.generation.control.pose import Keypoints
from components.image.generation.control.sketch import find_lines
from components.image.generation.latent import load_variant
from components.image.product import LCM, LORA, PromotedModel, read_model
from components.image.sheets import sheet
from components.statistics import Bootstrap, Floats

_COMPARED = 8


def evaluate(config: ControlEvaluateConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    """Draw, measure; write metrics.json and grids/compare.png. Interrupted, it goes on where it stopped.

    Raises:
        DataError: the dataset cannot be read.
        ModelError: the ControlNet, the base or the student cannot be loaded.
        RecipeError: the student is not distilled.
    """
    examples = HeldOut.open(inputs["dataset"], config.count)
    network = inputs["train"] / NETWORK
    drawn = _drawn(config, inputs, examples, network, out / ".pictures", log)
    bootstrap = Bootstrap(len(examples.rows), config.bootstrap, config.seed)
    measure, columns = measured(config.kind, drawn, examples, network)
    metrics = control_metrics(measure, columns, examples.groups, bootstrap)
    if config.kind == "pose":
        errors = reader_errors(KeypointReader.load(network / READER), examples.paths, examples.faces)
        metrics.put("pose.reader_px", float(errors.mean()))
    else:
        metrics.put("sketch.autoencoder_f1", _ceiling(config, examples, bootstrap))
    metrics.values |= {"examples.count": len(examples.rows), "prompts.digest": digest_of(inputs["dataset"])}
    write_json(out / METRICS, metrics.values)
    (out / "grids").mkdir(exist_ok=True)
    _sheet(examples, drawn).save(out / "grids" / "compare.png")
    log.metrics(metrics.numbers())
    log.file(out / METRICS)
    log.file(out / "grids" / "compare.png", "grids")


@dataclass(frozen=True)
class HeldOut:
    """Examples to measure on: rows of a dataset's held-out split, all of one size."""

    folder: Path
    data: CachedDataset
    rows: tuple[int, ...]

    @classmethod
    def open(cls, folder: Path, count: int) -> "HeldOut":
        """The first `count` held-out examples; where none was held out, of what was trained on. Raises DataError."""
        data = CachedDataset.open(folder, "val")
        data = data if len(data) else CachedDataset.open(folder, "train")
        shape = data.latents[0].shape
        rows = [row for row in range(len(data)) if data.latents[row].shape == shape]
        return cls(folder, data, tuple(rows[:count]))

    @property
    def groups(self) -> list[str]:
        """Of each example."""
        return [str(self.data.samples[row].get("group", "")) for row in self.rows]

    @property
    def prompts(self) -> list[str]:
        """Its first caption, which says nothing of where the face is."""
        return [self.data.captions[row][0] for row in self.rows]

    @cached_property
    def faces(self) -> list[Keypoints]:
        """Key points, where they are known."""
        known = read_faces(self.folder)
        return [known[self.data.ids[row]] for row in self.rows]

    @property
    def paths(self) -> list[Path]:
        """Files of the pictures themselves."""
        return [self.folder / "images" / f"{self.data.ids[row]}.png" for row in self.rows]

    @property
    def controls(self) -> list[Image.Image]:
        """What the ControlNet is shown."""
        names = (f"{self.data.ids[row]}.png" for row in self.rows)
        return [Image.open(self.folder / CONTROLS / name).convert("RGB") for name in names]


def measured(
    kind: str, drawn: Mapping[str, Sequence[Image.Image]], examples: HeldOut, network: Path
) -> tuple[Measure, dict[str, Floats]]:
    """What is measured for a kind, and its values by column."""
    if kind == "pose":
        reader = KeypointReader.load(network / READER)
        return POSE, {name: pose_errors(reader, pictures, examples.faces) for name, pictures in drawn.items()}
    asked = [find_lines(Image.open(path).convert("RGB")) for path in examples.paths]
    return SKETCH, {name: sketch_agreement(pictures, asked) for name, pictures in drawn.items()}


def _drawn(
    config: ControlEvaluateConfig, inputs: Mapping[str, Path], examples: HeldOut, network: Path, folder: Path, log: RunLog
) -> dict[str, list[Image.Image]]:
    """Pictures by column."""
    student = read_model(inputs["student"]) if "student" in inputs else None
    if student is not None and student.card.mode == "none":
        raise RecipeError(f"evaluate.student {config.student!r} is not distilled.", hint="Name one that is, or null.")
    counter = _Counter((4 if student else 2) * len(examples.rows), log)
    sampling = Sampling(config.steps, config.guidance, batch_size=config.batch_size)
    bundle = load_bundle(config.model)
    drawn = columns(bundle, examples, network, sampling, folder, counter, (CONTROLLED, FREE))
    if student is None:
        return drawn
    del bundle
    free()
    few = Sampling(student.card.steps, None, "lcm", config.batch_size)
    return drawn | columns(distilled(student), examples, network, few, folder, counter, (FEW, FEW_FREE))


def distilled(model: PromotedModel) -> Bundle:
    """A promoted model's student, in plain torch."""
    return load_variant(model.base, lora=model.folder / LORA, lcm=model.folder / LCM)


def columns(
    bundle: Bundle,
    examples: HeldOut,
    network: Path,
    sampling: Sampling,
    folder: Path,
    tell: "_Counter",
    names: tuple[str, str],
    trigger: str = "",
) -> dict[str, list[Image.Image]]:
    """The examples' prompts drawn with and without control, by `names`."""
    net = load_controlnet(str(network), bundle)
    pairs = zip(examples.prompts, examples.controls, strict=True)
    asked = [
        Asked(f"{trigger}{prompt}", seed, shown(control, torch.device("cpu"))[0])
        for seed, (prompt, control) in enumerate(pairs)
    ]
    return {
        name: draw(bundle, asked, sampling, one, folder / name, tell)
        for name, one in zip(names, (net, None), strict=True)
    }


class _Counter:
    """Tells the log of pictures, however many columns there are."""

    def __init__(self, total: int, log: RunLog) -> None:
        self.done, self.total, self.log = 0, total, log

    def __call__(self, more: int) -> None:
        self.done += more
        self.log.progress(self.done, self.total, unit="picture")


def _ceiling(config: ControlEvaluateConfig, examples: HeldOut, bootstrap: Bootstrap) -> Any:
    """F1 of what the autoencoder makes of the very pictures: no model on this base draws finer lines."""
    bundle = load_bundle(config.model)
    originals = [Image.open(path).convert("RGB") for path in examples.paths]
    latents = torch.stack([examples.data.latents[row] for row in examples.rows])
    decoded = [picture for part in latents.split(config.batch_size) for picture in _decoded(bundle, part)]
    return bootstrap.mean(sketch_agreement(decoded, [find_lines(one) for one in originals]))


def _decoded(bundle: Bundle, latents: torch.Tensor) -> list[Image.Image]:
    from components.image.generation.latent import to_images

    return to_images(bundle.decode_latents(latents.to(bundle.device)))


def _sheet(examples: HeldOut, drawn: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    count = min(_COMPARED, len(examples.rows))
    originals = [Image.open(path).convert("RGB") for path in examples.paths[:count]]
    rows = [
        [control, original, *(pictures[place] for pictures in drawn.values())]
        for place, (control, original) in enumerate(zip(examples.controls[:count], originals, strict=True))
    ]
    titles = {CONTROLLED: "controlled", FREE: "without", FEW: "few steps", FEW_FREE: "few, without"}
    return sheet(rows, ["control", "example", *(titles[name] for name in drawn)], examples.prompts[:count])

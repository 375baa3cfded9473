"""The evaluate stage for ControlNets: held-out examples drawn with and without it, and by a student in few steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from components.artifact import digest_of, write_json
from components.contracts import METRICS, RunLog
from components.errors import RecipeError
from components.image.control.cases import Case, columns, compared, held_out, measured
from components.image.control.dataset import pixels
from components.image.control.drawing import Sampling
from components.image.control.metrics import (
    CONTROLLED,
    FEW,
    FEW_FREE,
    FREE,
    control_metrics,
    pose_errors,
    sketch_agreement,
)
from components.image.control.recipe import ControlEvaluateConfig
from components.image.families.bundle import Bundle, free, load_bundle
from components.image.generation.control import NETWORK, READER
from components.image.generation.control.keypoints import KeypointReader
from components.image.generation.control.sketch import find_lines
from components.image.generation.latent import load_variant, to_images
from components.image.product import LCM, LORA, PromotedModel, read_model
from components.statistics import Bootstrap, Estimate


def evaluate(config: ControlEvaluateConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    """Draw, measure; write metrics.json and grids/compare.png. Interrupted, it goes on where it stopped.

    Raises:
        DataError: the dataset cannot be read.
        ModelError: the ControlNet, the base or the student cannot be loaded.
        RecipeError: the student is not distilled.
    """
    cases = held_out(inputs["dataset"], config.count)
    network = inputs["train"] / NETWORK
    drawn = _drawn(config, inputs, cases, network, out / ".pictures", log)
    bootstrap = Bootstrap(len(cases), config.bootstrap, config.seed)
    measure, values = measured(config.kind, drawn, cases, network)
    metrics = control_metrics(measure, values, [case.group for case in cases], bootstrap)
    if config.kind == "pose":
        metrics.put("pose.reader_px", reader_error(network, cases, bootstrap))
    else:
        metrics.put("sketch.autoencoder_f1", _ceiling(config, cases, bootstrap))
    metrics.values |= {"examples.count": len(cases), "prompts.digest": digest_of(inputs["dataset"])}
    write_json(out / METRICS, metrics.values)
    (out / "grids").mkdir(exist_ok=True)
    compared(cases, drawn).save(out / "grids" / "compare.png")
    log.metrics(metrics.numbers())
    log.file(out / METRICS)
    log.file(out / "grids" / "compare.png", "grids")


def reader_error(network: Path, cases: Sequence[Case], bootstrap: Bootstrap) -> Estimate:
    """How far the reader of key points is off on the examples themselves, pixels of 128."""
    reader, faces = KeypointReader.load(network / READER), [case.face for case in cases if case.face is not None]
    return bootstrap.mean(pose_errors(reader, [case.picture for case in cases], faces))


def _drawn(
    config: ControlEvaluateConfig, inputs: Mapping[str, Path], cases: Sequence[Case], network: Path, folder: Path,
    log: RunLog,
) -> dict[str, list[Image.Image]]:  # fmt: skip
    """Pictures by column."""
    student = read_model(inputs["student"]) if "student" in inputs else None
    if student is not None and student.card.mode == "none":
        raise RecipeError(f"evaluate.student {config.student!r} is not distilled.", hint="Name one that is, or null.")
    counter = Counter((4 if student else 2) * len(cases), log)
    sampling = Sampling(config.steps, config.guidance, batch_size=config.batch_size)
    bundle = load_bundle(config.model)
    drawn = columns(bundle, cases, network, sampling, folder, counter, (CONTROLLED, FREE))
    if student is None:
        return drawn
    del bundle
    free()
    few = Sampling(student.card.steps, None, "lcm", config.batch_size)
    return drawn | columns(distilled(student), cases, network, few, folder, counter, (FEW, FEW_FREE))


def distilled(model: PromotedModel) -> Bundle:
    """A promoted model's student, in plain torch."""
    return load_variant(model.base, lora=model.folder / LORA, lcm=model.folder / LCM)


class Counter:
    """Tells the log of pictures, however many columns there are."""

    def __init__(self, total: int, log: RunLog) -> None:
        self.done, self.total, self.log = 0, total, log

    def __call__(self, more: int) -> None:
        self.done += more
        self.log.progress(self.done, self.total, unit="picture")


def _ceiling(config: ControlEvaluateConfig, cases: Sequence[Case], bootstrap: Bootstrap) -> Estimate:
    """F1 of what the autoencoder makes of the very pictures: no model on this base draws finer lines."""
    bundle = load_bundle(config.model)
    decoded: list[Image.Image] = []
    for start in range(0, len(cases), config.batch_size):
        batch = torch.stack([pixels(case.picture) for case in cases[start : start + config.batch_size]])
        decoded += to_images(bundle.decode_latents(bundle.encode_images(batch)))
    return bootstrap.mean(sketch_agreement(decoded, [find_lines(case.picture) for case in cases]))

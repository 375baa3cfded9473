"""What a ControlNet is measured on: examples that training never saw, drawn with and without it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from components.image.control.dataset import CONTROLS, control_picture, read_faces
from components.image.control.drawing import Asked, Sampling, draw
from components.image.control.examples import Example
from components.image.control.metrics import (
    CONTROLLED,
    FEW,
    FEW_FREE,
    FREE,
    POSE,
    SKETCH,
    Measure,
    pose_errors,
    sketch_agreement,
)
from components.image.control.recipe import Kind
from components.image.dataset.loader import CachedDataset
from components.image.families.bundle import Bundle
from components.image.generation.control import READER
from components.image.generation.control.keypoints import KeypointReader
from components.image.generation.control.networks import load_controlnet, shown
from components.image.generation.control.pose import Keypoints
from components.image.generation.control.sketch import find_lines
from components.image.sheets import sheet
from components.statistics import Floats

_COMPARED = 8
_TITLES = {CONTROLLED: "controlled", FREE: "without", FEW: "few steps", FEW_FREE: "few, without"}


@dataclass(frozen=True)
class Case:
    """One example: its prompt says nothing of where the face is; `face` None: nobody knows."""

    picture: Image.Image
    control: Image.Image
    prompt: str
    group: str
    face: Keypoints | None


def held_out(folder: Path, count: int) -> list[Case]:
    """The first `count` held-out pictures of a dataset, all of one size; where none was held out, trained ones.

    Raises DataError.
    """
    data = CachedDataset.open(folder, "val")
    data = data if len(data) else CachedDataset.open(folder, "train")
    faces = read_faces(folder)
    rows = [row for row in range(len(data)) if data.latents[row].shape == data.latents[0].shape]
    return [_read(folder, data, row, faces) for row in rows[:count]]


def _read(folder: Path, data: CachedDataset, row: int, faces: Mapping[str, Keypoints]) -> Case:
    key = data.ids[row]
    picture, control = (Image.open(folder / part / f"{key}.png").convert("RGB") for part in ("images", CONTROLS))
    group = str(data.samples[row].get("group", ""))
    return Case(picture, control, data.captions[row][0], group, faces.get(key))


def of_examples(kind: Kind, examples: Iterable[Example]) -> list[Case]:
    """Examples as cases."""
    return [
        Case(row.picture, control_picture(kind, row.picture, row.face), row.captions[0], row.group, row.face)
        for row in examples
    ]


def measured(
    kind: Kind, drawn: Mapping[str, Sequence[Image.Image]], cases: Sequence[Case], network: Path
) -> tuple[Measure, dict[str, Floats]]:
    """What is measured for a kind, and its values [N] by column."""
    if kind == "pose":
        reader = KeypointReader.load(network / READER)
        asked = [case.face for case in cases if case.face is not None]
        return POSE, {name: pose_errors(reader, pictures, asked) for name, pictures in drawn.items()}
    lines = [find_lines(case.picture) for case in cases]
    return SKETCH, {name: sketch_agreement(pictures, lines) for name, pictures in drawn.items()}


def columns(
    bundle: Bundle,
    cases: Sequence[Case],
    network: Path,
    sampling: Sampling,
    folder: Path,
    tell: Callable[[int], None],
    names: tuple[str, str],
) -> dict[str, list[Image.Image]]:
    """The cases drawn with and without control at equal seeds, by `names`."""
    net = load_controlnet(str(network), bundle)
    cpu = torch.device("cpu")
    asked = [Asked(case.prompt, seed, shown(case.control, cpu)[0]) for seed, case in enumerate(cases)]
    nets: dict[str, Any] = dict(zip(names, (net, None), strict=True))
    return {name: draw(bundle, asked, sampling, one, folder / name, tell) for name, one in nets.items()}


def compared(cases: Sequence[Case], drawn: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    """The first cases side by side: control, example, and each column."""
    rows = [
        [case.control, case.picture, *(pictures[place] for pictures in drawn.values())]
        for place, case in enumerate(cases[:_COMPARED])
    ]
    prompts = [case.prompt for case in cases[:_COMPARED]]
    return sheet(rows, ["control", "example", *(_TITLES[name] for name in drawn)], prompts)

"""The dataset stage for ControlNets: pictures, latents, and beside each picture what steers it.

index.json, images/<id>.png, latents.safetensors   as the dataset stage for pictures leaves them
controls/<id>.png                                  what the ControlNet is shown
faces.json                                         key points by id, where they are known
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from components.artifact import replacing, write_json
from components.contracts import SUMMARY, RunLog
from components.errors import DataError
from components.image.control.examples import Example, Examples
from components.image.control.recipe import ControlDatasetConfig, Kind
from components.image.dataset.encode import encode_captions
from components.image.dataset.stage import prepare as prepare_pictures
from components.image.families.bundle import load_bundle
from components.image.generation.control.pose import Keypoints, figure
from components.image.generation.control.sketch import drawn, find_lines
from components.plugins import plugin

CONTROLS, FACES = "controls", "faces.json"
POSE_SUFFIX = ".pose.json"
_ENCODED_TOGETHER = 16


def prepare(config: ControlDatasetConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    """Pictures from a folder or from the recipe's examples, encoded, with their controls.

    Raises:
        DataError: the folder has no usable picture, or a picture has no readable key points where poses steer.
        ModelError: the base model cannot be loaded.
        RecipeError: the examples are unknown.
    """
    if config.source is None:
        _draw(config, out, log)
    else:
        prepare_pictures(config.pictures(), inputs, out, log)
        if config.kind == "pose":
            write_json(out / FACES, {key: face.as_json() for key, face in _labelled(inputs["data"], out)})
    _write_controls(config.kind, out, log)


def read_faces(folder: Path) -> dict[str, Keypoints]:
    """Key points by id; empty where none are known. Raises DataError."""
    file = folder / FACES
    try:
        rows = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return {key: Keypoints.from_json(row) for key, row in rows.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{str(file)!r} cannot be read: {error!r}.", hint="Run the dataset stage again.") from error


def _draw(config: ControlDatasetConfig, out: Path, log: RunLog) -> None:
    """What the recipe's examples draw, as the dataset stage for pictures leaves a folder's."""
    assert config.examples is not None
    examples: Examples = plugin("examples", config.examples)
    bundle = load_bundle(config.model)
    (out / "images").mkdir(parents=True, exist_ok=True)
    samples: dict[str, dict[str, Any]] = {}
    faces: dict[str, Any] = {}
    latents: dict[str, Tensor] = {}
    total = config.count + config.held_out + config.read_count
    for batch in _batches(_drawn(config, examples), _ENCODED_TOGETHER):
        named = [(_keep(row, out / "images"), split, row) for split, row in batch]
        encoded = bundle.encode_images(torch.stack([pixels(row.picture) for _, _, row in named])).cpu()
        for (key, split, row), value in zip(named, encoded, strict=True):
            samples[key] = _sample(key, split, row, examples)
            faces[key], latents[key] = row.face.as_json(), value.contiguous()
        log.progress(len(samples), total, unit="picture")
    _save(out / "latents.safetensors", latents)
    _save(out / "text.safetensors", encode_captions(bundle, [""], log))
    write_json(out / FACES, faces)
    _write_index(config, examples, list(samples.values()), out)


def _drawn(config: ControlDatasetConfig, examples: Examples) -> Iterator[tuple[str, Example]]:
    """Every example with its split: to train on, to measure on, and for the reader of key points alone."""
    side, seed = config.model.resolution, config.seed
    parts = {
        "train": examples.draw(config.count, seed, side),
        "val": examples.draw(config.held_out, seed, side, held_out=True),
        "read": examples.draw(config.read_count, seed, side, groups=config.read_groups),
    }
    return ((split, row) for split, rows in parts.items() for row in rows)


def _write_index(
    config: ControlDatasetConfig, examples: Examples, samples: Sequence[Mapping[str, Any]], out: Path
) -> None:
    facts = {"license": examples.license, "artist": examples.artist, "resolution": config.model.resolution}
    write_json(out / "index.json", {"trigger": "", **facts, "samples": list(samples)})
    splits = Counter(str(sample["split"]) for sample in samples)
    write_json(out / SUMMARY, {"kept": len(samples), "splits": dict(splits)})


def _keep(example: Example, images: Path) -> str:
    """Write the picture; its id is a digest of its pixels."""
    key = hashlib.sha256(example.picture.tobytes()).hexdigest()[:16]
    example.picture.save(images / f"{key}.png", compress_level=1)
    return key


def _sample(key: str, split: str, example: Example, examples: Examples) -> dict[str, Any]:
    width, height = example.picture.size
    shape = {"width": width, "height": height, "original": [width, height], "crop": [0, 0]}
    facts = {"license": examples.license, "artist": examples.artist, "source": "", "group": example.group}
    return {"id": key, "file": f"{key}.png", "split": split, "captions": list(example.captions), **shape, **facts}


def _write_controls(kind: Kind, out: Path, log: RunLog) -> None:
    index = json.loads((out / "index.json").read_text(encoding="utf-8"))
    faces = read_faces(out)
    (out / CONTROLS).mkdir(exist_ok=True)
    for done, sample in enumerate(index["samples"], start=1):
        with Image.open(out / "images" / f"{sample['id']}.png") as picture:
            control = control_picture(kind, picture, faces.get(sample["id"]))
        control.save(out / CONTROLS / f"{sample['id']}.png", compress_level=1)
        log.progress(done, len(index["samples"]), unit="control")


def control_picture(kind: Kind, picture: Image.Image, face: Keypoints | None) -> Image.Image:
    """What the ControlNet is shown of a picture: its lines, or the figure of its face."""
    if kind == "sketch":
        return drawn(find_lines(picture))
    assert face is not None, "a pose needs key points"
    return figure(face, picture.size)


def _labelled(source: Path, out: Path) -> Iterator[tuple[str, Keypoints]]:
    """Key points that stand beside the pictures of a folder, in the frame of what the dataset stage cropped."""
    index = json.loads((out / "index.json").read_text(encoding="utf-8"))
    for sample in index["samples"]:
        yield sample["id"], _cropped(_read_face(source / sample["file"]), sample)


def _read_face(picture: Path) -> Keypoints:
    for file in (picture.with_suffix(POSE_SUFFIX), picture.with_name(picture.name + POSE_SUFFIX)):
        if file.is_file():
            try:
                return Keypoints.from_json(json.loads(file.read_text(encoding="utf-8-sig")))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"key points {str(file)!r} cannot be read: {error}.",
                    hint='Expected {"points": [[x, y], five in all], "radii": [rx, ry], "tilt": degrees}, lengths as '
                    "shares of the picture: leading eye, trailing eye, mouth's leading and trailing corner, head.",
                ) from error
    raise DataError(
        f"picture {str(picture)!r} has no key points.",
        hint=f"Write them to {picture.stem + POSE_SUFFIX}, or train a sketch, which needs none.",
    )


def _cropped(face: Keypoints, sample: Mapping[str, Any]) -> Keypoints:
    """Shares of the picture as it came to shares of its bucket."""
    original, corner = np.array(sample["original"], np.float64), np.array(sample["crop"], np.float64)
    size = np.array([sample["width"], sample["height"]], np.float64)
    scale = float((size / original).max())
    points = (face.points * original * scale - corner) / size
    width, height = np.array(face.radii) * original * scale / size
    return Keypoints(points, (float(width), float(height)), face.tilt)


def pixels(picture: Image.Image) -> Tensor:
    """A picture as [3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1


def _batches(items: Iterable[tuple[str, Example]], count: int) -> Iterator[Sequence[tuple[str, Example]]]:
    batch: list[tuple[str, Example]] = []
    for item in items:
        batch.append(item)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with replacing(path) as temporary:
        save_file(dict(tensors), temporary)

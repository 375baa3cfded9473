"""The dataset stage for pictures: clean, caption, split, encode."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.artifact import write_json
from components.contracts import RunLog
from components.errors import DataError
from components.image.dataset import buckets, captions
from components.image.dataset.clean import Candidate, clean
from components.image.dataset.encode import write_encodings, write_masks
from components.image.dataset.picture import Dropped
from components.image.dataset.provenance import UNKNOWN, Provenance, combined
from components.image.families.bundle import Bundle, load_bundle
from components.image.recipe import DatasetConfig


@dataclass(frozen=True)
class Sample:
    """One picture of the dataset; of the captions the one as written comes first.

    Sizes are pixels: `original` (width, height) as it came, `crop` the corner (left, top) after it was resized to cover
    its bucket, `width` and `height` of the bucket.
    """

    id: str
    file: str
    split: str
    width: int
    height: int
    original: tuple[int, int]
    crop: tuple[int, int]
    captions: tuple[str, ...]
    license: str
    artist: str
    source: str


def prepare(config: DatasetConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    """A folder of pictures and captions to the dataset that training reads.

    Writes index.json, dropped.json, summary.json, images/<id>.png, latents.safetensors, text.safetensors and, where
    the recipe wants masks, masks.safetensors. What the same encoder has encoded before comes from a cache.

    Raises:
        DataError: the folder is missing or empty, metadata is malformed, no picture can be used, or (with
            `require_captions`) none has a caption.
        ModelError: the base model cannot be loaded.
    """
    folder = inputs["data"]
    provenance = Provenance.read(folder, config.license)
    described = _described(folder, log)
    bundle = load_bundle(config.model)
    (out / "images").mkdir(parents=True, exist_ok=True)
    if config.masks is not None:
        (out / "masks").mkdir(exist_ok=True)
    sizes = _sizes(config, bundle)
    sound, dropped = clean(config, folder, sizes, out / "images", log, inputs.get("masks"))
    rows = {item.file: described.get(item.file, {}) for item in sound}
    written = {item.file: _caption(folder / item.file, rows[item.file]) for item in sound}
    silent = [item for item in sound if config.require_captions and not written[item.file]]
    dropped += [Dropped(item.file, "no_caption", "no sidecar .txt, no row in metadata.jsonl") for item in silent]
    kept = [item for item in sound if item not in silent]
    _check(folder, kept, dropped)
    origins = {item.file: provenance.of(item.file, rows[item.file]) for item in kept}
    samples = _samples(config, kept, written, origins)
    _clear(out / "images", {sample.id for sample in samples})
    write_encodings(bundle, out, {sample.id: sample.captions for sample in samples}, log)
    if config.masks is not None:
        write_masks(bundle, out, [sample.id for sample in samples])
        shutil.rmtree(out / "masks")
    _report(config, out, samples, sorted(dropped, key=lambda item: item.file), log)


def _described(folder: Path, log: RunLog) -> dict[str, dict[str, Any]]:
    """Rows of every metadata.jsonl by the picture's name below `folder`."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob(captions.METADATA)):
        above = path.parent.relative_to(folder)
        rows |= {(above / name).as_posix(): row for name, row in captions.read_metadata(path).items()}
    if missing := [name for name in rows if not (folder / name).is_file()]:
        log.warn(f"metadata.jsonl describes {len(missing)} file(s) that are not there, such as {missing[0]!r}")
    return rows


def _sizes(config: DatasetConfig, bundle: Bundle) -> tuple[buckets.Size, ...]:
    """The sizes that pictures are brought to: sides that the UNet can halve as often as it does."""
    unet: Any = bundle.unet
    unit = bundle.scale * 2 ** (len(unet.config.block_out_channels) - 1)
    side = config.model.resolution
    return buckets.bucket_sizes(side, unit) if config.buckets else (buckets.square(side, unit),)


def _caption(picture: Path, row: Mapping[str, Any]) -> str:
    return captions.sidecar_caption(picture) or captions.metadata_caption(row)


def _check(folder: Path, kept: Sequence[Candidate], dropped: Sequence[Dropped]) -> None:
    if kept:
        return
    counts = Counter(item.reason for item in dropped)
    if counts["no_caption"]:
        raise DataError(
            f"none of the {counts['no_caption']} usable pictures in {str(folder)!r} has a caption.",
            hint="Write captions beside them, or set dataset.require_captions to false to train on the trigger word.",
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    hint = f"The first one, {dropped[0].file!r}: {dropped[0].detail}."
    raise DataError(f"no picture in {str(folder)!r} can be used ({reasons}).", hint=hint)


def _samples(
    config: DatasetConfig,
    kept: Sequence[Candidate],
    written: Mapping[str, str],
    origins: Mapping[str, Mapping[str, str]],
) -> list[Sample]:
    held_out = _held_out([item.id for item in kept], config.validation_share)

    def sample(item: Candidate) -> Sample:
        variants = captions.variants(
            written[item.file], config.trigger, config.tag_shuffles, f"{config.seed} {item.id}"
        )
        split = "val" if item.id in held_out else "train"
        origin = origins[item.file]
        return Sample(
            item.id,
            item.file,
            split,
            *item.size,
            item.original,
            buckets.crop_corner(item.original, item.size),
            tuple(variants),
            origin["license"],
            origin["artist"],
            origin["source"],
        )

    return [sample(item) for item in kept]


def _held_out(ids: Sequence[str], share: float) -> set[str]:
    """Ids kept out of training: those whose hash lies below `share`, so that a picture keeps its side when others come.

    Where chance leaves a side empty, the lowest hash is held out, and the highest is trained on.
    """
    ordered = sorted(ids)
    below = {identity for identity in ids if int(identity, 16) < share * 16**16}
    if share > 0:
        below.add(ordered[0])
    return below - {ordered[-1]}


def _clear(images: Path, ids: set[str]) -> None:
    for path in images.iterdir():
        if path.stem not in ids:
            path.unlink()


def _report(
    config: DatasetConfig, out: Path, samples: Sequence[Sample], dropped: Sequence[Dropped], log: RunLog
) -> None:
    counts = dict(sorted(Counter(item.reason for item in dropped).items()))
    license = combined(sample.license for sample in samples)
    index = {
        "trigger": config.trigger,
        "resolution": config.model.resolution,
        "license": license,
        "artist": combined(sample.artist for sample in samples),
        "samples": [asdict(sample) for sample in samples],
    }
    summary = {
        "files": len(samples) + len(dropped),
        "kept": len(samples),
        "dropped": counts,
        "splits": dict(sorted(Counter(sample.split for sample in samples).items())),
        "sizes": dict(sorted(Counter(f"{sample.width}x{sample.height}" for sample in samples).items())),
    }
    write_json(out / "index.json", index)
    write_json(out / "dropped.json", [asdict(item) for item in dropped])
    write_json(out / "summary.json", summary)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"
    log.message(f"{len(samples)} of {len(samples) + len(dropped)} pictures kept; dropped: {reasons}")
    if license == UNKNOWN:
        log.warn("nobody says under which licence these pictures are: set dataset.license, or write provenance.json")
    metrics = {"files": len(samples) + len(dropped), "kept": len(samples)}
    log.metrics({f"dataset.{name}": count for name, count in metrics.items()})
    log.metrics({f"dataset.dropped.{reason}": count for reason, count in counts.items()})
    log.table("dropped", [asdict(item) for item in dropped])
    log.file(out / "summary.json")

"""The dataset stage for pictures: collect, clean, deduplicate, caption, bucket, split, encode."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from components.artifact import write_json
from components.contracts import RunLog
from components.dataset import buckets, captions, duplicates
from components.dataset.encode import write_encodings
from components.dataset.picture import Dropped, own_limits, read_picture
from components.dataset.provenance import Provenance, combined
from components.errors import DataError
from components.families.bundle import Bundle, load_bundle
from components.recipe import DatasetConfig


@dataclass(frozen=True)
class Sample:
    """One picture that training may see. Sizes in pixels after bucketing; every caption has the trigger word in it."""

    id: str
    file: str
    split: str
    width: int
    height: int
    captions: tuple[str, ...]
    license: str
    artist: str
    source: str


@dataclass(frozen=True)
class Candidate:
    """A sound picture, written as `images/<id>.png`; `pixels` is its size as found."""

    id: str
    file: str
    pixels: int
    size: buckets.Size
    look: duplicates.Look
    caption: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)


def prepare(config: DatasetConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    """A folder of pictures and captions to the dataset that training reads.

    Writes index.json, dropped.json, summary.json, images/<id>.png, latents.safetensors and text.safetensors. Encodings come
    from a cache where the same content was encoded by the same encoder before.

    Raises:
        DataError: the folder is missing or empty, metadata is malformed, no picture can be used, or (with
            `require_captions`) none has a caption.
        ModelError: the base model cannot be loaded.
    """
    folder = inputs["data"]
    files = find_files(folder, log)
    described = _described(folder, files, log)
    bundle = load_bundle(config.model)
    (out / "images").mkdir(parents=True, exist_ok=True)
    sound, dropped = _split(_clean(config, folder, files, _sizes(config, bundle), out / "images", log))
    unique, twins = _deduplicate(sound, config.duplicate_distance)
    kept, silent = _captioned(unique, folder, described, config.require_captions)
    dropped = sorted([*dropped, *twins, *silent], key=lambda item: item.file)
    _check(folder, kept, dropped, silent)
    provenance = Provenance.read(folder, config.license)
    samples = _samples(config, kept, provenance)
    for path in (out / "images").iterdir():
        if path.stem not in {sample.id for sample in samples}:
            path.unlink()
    write_encodings(bundle, out, {sample.id: sample.captions for sample in samples}, log)
    _write(config, out, samples, dropped, log)


def find_files(folder: Path, log: RunLog) -> list[str]:
    """Names of all files below `folder` that may be pictures, sorted; hidden ones, captions and metadata are left out.

    Links to folders are not followed (they may lead in circles). Raises DataError without any file.
    """
    if not folder.is_dir():
        raise DataError(f"dataset folder {str(folder)!r} does not exist.", hint="Correct dataset.source in the recipe.")
    names = []
    for place, folders, found in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if (Path(place) / name).is_symlink():
                log.warn(f"{str(Path(place, name))!r} is a link to a folder and is not followed")
        paths = (Path(place, name) for name in found if not name.startswith("."))
        names += [path.relative_to(folder).as_posix() for path in paths if not captions.is_sidecar(path)]
    if not names:
        raise DataError(
            f"dataset folder {str(folder)!r} holds no pictures.", hint="Put pictures there, with captions beside them."
        )
    return sorted(names)


def _described(folder: Path, files: Sequence[str], log: RunLog) -> dict[str, dict[str, Any]]:
    """Rows of every metadata.jsonl by the picture's name below `folder`."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob(captions.METADATA)):
        above = path.parent.relative_to(folder)
        rows |= {(above / name).as_posix(): row for name, row in captions.read_metadata(path).items()}
    if missing := sorted(rows.keys() - set(files)):
        log.warn(f"metadata.jsonl describes {len(missing)} file(s) that are not there, such as {missing[0]!r}")
    return rows


def _sizes(config: DatasetConfig, bundle: Bundle) -> tuple[buckets.Size, ...]:
    """The sizes that pictures are brought to: sides that the UNet can halve as often as it does."""
    unit = bundle.scale * 2 ** (len(bundle.unet.config.block_out_channels) - 1)
    side = config.model.resolution
    return buckets.bucket_sizes(side, unit) if config.buckets else (buckets.square(side, unit),)


def _clean(
    config: DatasetConfig, folder: Path, files: Sequence[str], sizes: Sequence[buckets.Size], images: Path, log: RunLog
) -> Iterator[Candidate | Dropped]:
    """Decode, judge and bring to size every file, in threads (Pillow decodes outside the interpreter's lock)."""

    def work(name: str) -> Candidate | Dropped:
        path = folder / name
        picture = read_picture(
            path, name, min_side=config.min_side, max_pixels=config.max_pixels, background=config.background
        )
        if isinstance(picture, Dropped):
            return picture
        size = buckets.nearest_bucket(picture.size, sizes)
        identity = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        buckets.fit(picture, size).save(images / f"{identity}.png", compress_level=1)
        return Candidate(identity, name, picture.width * picture.height, size, duplicates.look(picture))

    with own_limits(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(work, files), start=1):
            log.progress(done, len(files), unit="picture")
            yield result


def _split(results: Iterable[Candidate | Dropped]) -> tuple[list[Candidate], list[Dropped]]:
    every = list(results)
    return [item for item in every if isinstance(item, Candidate)], [
        item for item in every if isinstance(item, Dropped)
    ]


def _deduplicate(sound: Sequence[Candidate], distance: int) -> tuple[list[Candidate], list[Dropped]]:
    """The larger of two like pictures stays; of two as large, the first by name."""
    ordered = sorted(sound, key=lambda item: (-item.pixels, item.file))
    found = duplicates.partners([item.look for item in ordered], distance)
    kept = [item for index, item in enumerate(ordered) if index not in found]
    twins = [
        Dropped(
            ordered[index].file, "duplicate", f"near-duplicate of {ordered[partner].file!r} ({bits} of 64 bits differ)"
        )
        for index, (partner, bits) in found.items()
    ]
    return sorted(kept, key=lambda item: item.file), twins


def _captioned(
    unique: Sequence[Candidate], folder: Path, described: Mapping[str, dict[str, Any]], required: bool
) -> tuple[list[Candidate], list[Dropped]]:
    """Give every picture its caption: the sidecar's, else the metadata's, else none."""
    kept, silent = [], []
    for item in unique:
        row = described.get(item.file, {})
        caption = captions.sidecar_caption(folder / item.file) or captions.metadata_caption(row)
        if caption or not required:
            kept.append(Candidate(**{**vars(item), "caption": caption, "row": row}))
        else:
            silent.append(Dropped(item.file, "no_caption", "neither a sidecar .txt nor a row in metadata.jsonl"))
    return kept, silent


def _check(folder: Path, kept: Sequence[Candidate], dropped: Sequence[Dropped], silent: Sequence[Dropped]) -> None:
    if kept:
        return
    if silent:
        hint = "Write captions beside the pictures, or set dataset.require_captions to false to train on the trigger word alone."
        raise DataError(f"none of the {len(silent)} usable pictures in {str(folder)!r} has a caption.", hint=hint)
    reasons = ", ".join(
        f"{count} {reason}" for reason, count in sorted(Counter(item.reason for item in dropped).items())
    )
    first = f"{dropped[0].file!r}: {dropped[0].detail}"
    raise DataError(f"no picture in {str(folder)!r} can be used ({reasons}).", hint=f"The first one is {first}.")


def _samples(config: DatasetConfig, kept: Sequence[Candidate], provenance: Provenance) -> list[Sample]:
    held_out = _held_out([item.id for item in kept], config.validation_share)
    return [
        Sample(
            id=item.id,
            file=item.file,
            split="val" if item.id in held_out else "train",
            width=item.size[0],
            height=item.size[1],
            captions=tuple(
                captions.variants(item.caption, config.trigger, config.tag_shuffles, f"{config.seed} {item.id}")
            ),
            **provenance.of(item.file, item.row),
        )
        for item in kept
    ]


def _held_out(ids: Sequence[str], share: float) -> set[str]:
    """Ids kept out of training: those whose hash lies below `share`, so that a picture keeps its side when others come.

    Where chance leaves a side empty, the lowest hash is held out, and the highest is trained on.
    """
    ordered = sorted(ids)
    below = {identity for identity in ids if int(identity, 16) < share * 16**16}
    if share > 0 and len(ordered) > 1:
        below |= {ordered[0]}
    return below - {ordered[-1]}


def _write(
    config: DatasetConfig, out: Path, samples: Sequence[Sample], dropped: Sequence[Dropped], log: RunLog
) -> None:
    counts = dict(sorted(Counter(item.reason for item in dropped).items()))
    summary = {
        "files": len(samples) + len(dropped),
        "kept": len(samples),
        "dropped": counts,
        "train": sum(sample.split == "train" for sample in samples),
        "val": sum(sample.split == "val" for sample in samples),
        "sizes": dict(sorted(Counter(f"{sample.width}x{sample.height}" for sample in samples).items())),
    }
    index = {
        "trigger": config.trigger,
        "resolution": config.model.resolution,
        "license": combined(sample.license for sample in samples),
        "artist": combined(sample.artist for sample in samples),
        "samples": [asdict(sample) for sample in samples],
    }
    write_json(out / "index.json", index)
    write_json(out / "dropped.json", [asdict(item) for item in dropped])
    write_json(out / "summary.json", summary)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"
    log.message(f"{summary['kept']} of {summary['files']} pictures kept; dropped: {reasons}")
    if index["license"] == "unknown":
        log.warn("nobody says under which licence these pictures are: set dataset.license, or write provenance.json")
    log.metrics({"dataset.files": summary["files"], "dataset.kept": summary["kept"]})
    log.metrics({f"dataset.dropped.{reason}": count for reason, count in counts.items()})
    log.table("dropped", [asdict(item) for item in dropped])
    log.file(out / "summary.json")

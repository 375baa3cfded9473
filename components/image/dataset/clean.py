"""Which files of a folder are pictures that training may see."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from components.contracts import RunLog
from components.errors import DataError
from components.image.dataset import buckets, captions, duplicates
from components.image.dataset.picture import Dropped, own_limits, read_alpha, read_mask, read_picture
from components.image.recipe import DatasetConfig


@dataclass(frozen=True)
class Candidate:
    """A sound picture, written as `<id>.png` in its bucket's `size`; `original` is the size that it came with."""

    id: str
    file: str
    original: buckets.Size
    size: buckets.Size
    look: duplicates.Look


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
        hint = "Put pictures there, with captions beside them."
        raise DataError(f"dataset folder {str(folder)!r} holds no pictures.", hint=hint)
    return sorted(names)


def clean(
    config: DatasetConfig,
    folder: Path,
    sizes: Sequence[buckets.Size],
    images: Path,
    log: RunLog,
    masks: Path | None = None,
) -> tuple[list[Candidate], list[Dropped]]:
    """Decode every file below `folder`, write what is sound to `images` in one of `sizes`, and drop near-duplicates.

    Args:
        masks: folder of masks, where the recipe names one; the masks of pictures go to `masks` beside `images`.

    Returns:
        Candidates by name, and what was dropped for which reason. `images` may hold more pictures than there are
        candidates.
    """
    files = find_files(folder, log)

    def work(name: str) -> Candidate | Dropped:
        return _examine(config, folder, name, sizes, images, masks)

    results: list[Candidate | Dropped] = []
    # Threads, because Pillow decodes and zlib packs outside the interpreter's lock.
    with own_limits(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(work, files), start=1):
            log.progress(done, len(files), unit="picture")
            results.append(result)
    unique, copies = _deduplicate((item for item in results if isinstance(item, Candidate)), config.duplicate_distance)
    return unique, [*(item for item in results if isinstance(item, Dropped)), *copies]


def _examine(
    config: DatasetConfig, folder: Path, name: str, sizes: Sequence[buckets.Size], images: Path, masks: Path | None
) -> Candidate | Dropped:
    path = folder / name
    picture = read_picture(
        path, name, min_side=config.min_side, max_pixels=config.max_pixels, background=config.background
    )
    if isinstance(picture, Dropped):
        return picture
    size = buckets.nearest_bucket(picture.size, sizes)
    identity = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if config.masks is not None:
        mask = read_alpha(path) if masks is None else read_mask(masks, name)
        buckets.fit(mask.resize(picture.size), size).save(images.parent / "masks" / f"{identity}.png")
    buckets.fit(picture, size).save(images / f"{identity}.png", compress_level=1)
    return Candidate(identity, name, picture.size, size, duplicates.look(picture))


def _deduplicate(sound: Iterable[Candidate], distance: int) -> tuple[list[Candidate], list[Dropped]]:
    """The larger of two like pictures stays; of two as large, the first by name."""
    ordered = sorted(sound, key=lambda item: (-item.original[0] * item.original[1], item.file))
    found = duplicates.partners([item.look for item in ordered], distance)
    kept = [item for index, item in enumerate(ordered) if index not in found]
    copies = [
        Dropped(
            ordered[index].file, "duplicate", f"near-duplicate of {ordered[partner].file!r} ({bits} of 64 bits differ)"
        )
        for index, (partner, bits) in found.items()
    ]
    return sorted(kept, key=lambda item: item.file), copies

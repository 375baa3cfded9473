"""A sealed folder: every file's digest in a manifest that is written last.

Without a manifest a folder is unfinished work (it may be resumed); with one it is immutable. The manifest stores a
fingerprint of everything that the content depends on, so that a later run can tell whether it is still current.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from components.errors import ArtifactError

MANIFEST = "manifest.json"
PENDING = ".pending.json"
POINTER = "champion"
READY = "ready"


@dataclass(frozen=True)
class Artifact:
    """A sealed folder and what its manifest says."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """sha256 over the names and digests of all files."""
        return str(self.manifest["digest"])

    @property
    def fingerprint(self) -> str:
        """Digest of everything that the content depends on."""
        return str(self.manifest["fingerprint"])


def sha256(path: Path) -> str:
    """Digest of a file's content; remembered per (path, size, time of change)."""
    stat = path.stat()
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=65536)
def _sha256(path: str, size: int, mtime: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(path: Path) -> str:
    """Digest of a file, a folder (of a sealed one, as its manifest says), or of the name itself (a hub id)."""
    if path.is_file():
        return sha256(path)
    with contextlib.suppress(ArtifactError):
        return open_sealed(path).digest
    if path.is_dir():
        return _combine({name: sha256(path / name) for name in _files(path)})
    return hashlib.sha256(str(path).encode()).hexdigest()


def seal(folder: Path, fingerprint: str, parents: Mapping[str, str], meta: Mapping[str, Any] | None = None) -> Artifact:
    """Write the manifest of a finished folder: flush the files, then the manifest, then the folder.

    Args:
        folder: finished output.
        fingerprint: digest of config, inputs and code version.
        parents: digest of each input by name.
        meta: anything JSON worth knowing later.
    """
    files = {name: {"sha256": sha256(folder / name), "size": (folder / name).stat().st_size} for name in _files(folder)}
    for name in files:
        _flush(folder / name)
    digest = _combine({name: str(entry["sha256"]) for name, entry in files.items()})
    manifest = {
        "digest": digest,
        "fingerprint": fingerprint,
        "parents": dict(parents),
        "meta": dict(meta or {}),
        "files": files,
    }
    write_json(folder / MANIFEST, manifest)
    (folder / PENDING).unlink(missing_ok=True)
    return Artifact(folder, manifest)


def open_sealed(folder: Path, *, verify: bool = False) -> Artifact:
    """The artifact in `folder`; with `verify` every file's digest is checked. Raises ArtifactError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{str(folder)!r} is not sealed.", hint="Run the stage that makes it.") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"manifest of {str(folder)!r} cannot be read: {error}.", hint="Delete the folder; the stage makes it again."
        ) from error
    artifact = Artifact(folder, manifest)
    if verify:
        _verify(artifact)
    return artifact


def is_complete(artifact: Artifact) -> bool:
    """Whether all files are there in their sizes (a cheap check; digests are for `verify`)."""
    for name, entry in artifact.manifest["files"].items():
        file = artifact.path / name
        if not file.is_file() or file.stat().st_size != entry["size"]:
            return False
    return True


def _verify(artifact: Artifact) -> None:
    for name, entry in artifact.manifest["files"].items():
        file = artifact.path / name
        if not file.is_file():
            raise ArtifactError(
                f"{str(file)!r} is missing from a sealed folder.", hint="Delete the folder; the stage makes it again."
            )
        if sha256(file) != entry["sha256"]:
            raise ArtifactError(
                f"{str(file)!r} differs from its manifest.", hint="Delete the folder; the stage makes it again."
            )


def point(folder: Path, version: str) -> None:
    """Make `folder/version` the champion of `folder`: the pointer, version and time, is replaced in one move."""
    open_sealed(folder / version)
    with replacing(folder / POINTER) as temporary:
        temporary.write_text(f"{version}\n{datetime.now(UTC).isoformat()}\n", encoding="utf-8")


def pointed(folder: Path) -> Path:
    """The version that the champion pointer of `folder` names. Raises ArtifactError."""
    version, _ = _read_pointer(folder)
    if not version or version.startswith(".") or Path(version).name != version:
        raise ArtifactError(
            f"the champion pointer of {str(folder)!r} names {version!r}.",
            hint="Expected the name of a folder beside it.",
        )
    return folder / version


def make_ready(folder: Path, version: str) -> None:
    """Name the version of a folder that others use, where none is a champion."""
    write_bytes(folder / READY, f"{version}\n".encode())


def ready(folder: Path) -> Path | None:
    """The version that `make_ready` named; None where there is none."""
    try:
        version = folder / (folder / READY).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return version if version.parent == folder and (version / MANIFEST).is_file() else None


def promoted_at(folder: Path) -> datetime:
    """When the champion of `folder` was pointed to, as its pointer says; the oldest time where it says none."""
    _, when = _read_pointer(folder)
    try:
        return datetime.fromisoformat(when).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def latest_champion(models: Path, modality: str = "*") -> Path | None:
    """The champion that was promoted last among the recipes of `models`/<modality>/<recipe>; None without any.

    Raises:
        ArtifactError: its pointer is damaged.
    """
    folders = sorted(file.parent for file in models.glob(f"{modality}/*/{POINTER}"))
    return pointed(max(folders, key=promoted_at)) if folders else None


def _read_pointer(folder: Path) -> tuple[str, str]:
    """Version and time of a pointer."""
    try:
        text = (folder / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{str(folder)!r} has no readable champion pointer: {error}.", hint="Promote a model first."
        ) from error
    version, _, when = text.partition("\n")
    return version, when


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a temporary sibling, flush, rename."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file to a temporary sibling, flush, rename."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary sibling file or folder that takes the place of `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary = holder / path.name
    try:
        yield temporary
        for file in (temporary, *temporary.rglob("*")):
            if file.is_file():
                _flush(file)
        if path.is_dir():
            shutil.move(path, holder / ".old")
        temporary.replace(path)
        _flush_folder(path.parent)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _files(folder: Path) -> list[str]:
    """Relative names of all files but the manifest and hidden ones, sorted."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        name.as_posix()
        for name in found
        if name.as_posix() != MANIFEST and not any(part.startswith(".") for part in name.parts)
    )


def _combine(digests: Mapping[str, str]) -> str:
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _flush(path: Path) -> None:
    # Windows flushes only handles that may write.
    with path.open("rb" if os.name != "nt" else "rb+") as stream:
        os.fsync(stream.fileno())


def _flush_folder(path: Path) -> None:
    if os.name != "nt":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

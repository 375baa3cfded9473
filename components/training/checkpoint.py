"""Checkpoints that survive a power cut: sealed folders, of which resume takes the newest that verifies.

A folder is written as a hidden sibling, flushed, given its manifest (sha256 of every file) last and renamed; only then
are older ones pruned. Tensors lie in safetensors files, everything else in state.json, so nothing is unpickled.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from components.artifact import MANIFEST, open_sealed, replacing, seal, write_json
from components.contracts import RunLog
from components.errors import ArtifactError

PREFIX = "checkpoint-"
INTERRUPTED = PREFIX + "interrupted"
STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A sealed folder that verified, and its state."""

    path: Path
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps that it has behind it."""
        return int(self.state["step"])

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of <name>.safetensors."""
        found: dict[str, Tensor] = load_file(self.path / f"{name}.safetensors")
        return found


def write(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], fingerprint: str
) -> None:
    """Seal a checkpoint.

    Args:
        folder: its name starts with PREFIX.
        tensors: file name (without suffix) -> tensors by name.
        state: JSON with at least `step`.
        fingerprint: what the run depends on; a checkpoint of another run is never resumed.
    """
    with replacing(folder) as temporary:
        temporary.mkdir()
        for name, content in tensors.items():
            flat = {key: value.detach().cpu().contiguous() for key, value in content.items()}
            save_file(flat, temporary / f"{name}.safetensors")
        write_json(temporary / STATE, state)
        seal(temporary, fingerprint, {}, {"step": state["step"], "torch": torch.__version__})


def newest(out: Path, fingerprint: str, log: RunLog) -> Checkpoint | None:
    """The newest sound checkpoint of this run; damaged and foreign ones are removed with a warning."""
    _sweep(out)
    sound = []
    for folder in out.glob(f"{PREFIX}*"):
        try:
            sound.append(_open(folder, fingerprint))
        except (ArtifactError, OSError, ValueError, KeyError, SafetensorError) as error:
            log.warn(f"{folder.name} cannot be resumed and is removed ({error}).")
            shutil.rmtree(folder, ignore_errors=True)
    return max(sound, key=lambda found: found.step, default=None)


def _sweep(out: Path) -> None:
    """Remove what a killed process left half written (the holders of `artifact.replacing`)."""
    for leftover in list(out.rglob(".*")):
        if re.fullmatch(r"\..+\.\w{8}", leftover.name) and leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


def _open(folder: Path, fingerprint: str) -> Checkpoint:
    artifact = open_sealed(folder, verify=True)
    if artifact.fingerprint != fingerprint:
        raise ArtifactError("it belongs to another configuration or dataset")
    return Checkpoint(folder, json.loads((folder / STATE).read_text(encoding="utf-8")))


def prune(out: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what an interruption left once a regular one is as new."""
    by_age = sorted((folder for folder in out.glob(f"{PREFIX}*") if folder.name != INTERRUPTED), key=_step)
    for folder in by_age[: max(len(by_age) - keep, 0)]:
        shutil.rmtree(folder)
    interrupted = out / INTERRUPTED
    if by_age and interrupted.exists() and _step(interrupted) <= _step(by_age[-1]):
        shutil.rmtree(interrupted)


def _step(folder: Path) -> int:
    try:
        return int(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["meta"]["step"])
    except (OSError, ValueError, KeyError):
        return -1

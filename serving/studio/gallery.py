"""What was drawn, one file a picture: its settings travel inside, so that the folder is all there is."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifact import write_bytes, write_json
from components.errors import RequestError
from components.image.generation.metadata import read_png, read_request

ENDINGS = {"image/png": "png", "image/webp": "webp", "image/gif": "gif", "video/mp4": "mp4"}


@dataclass(frozen=True)
class Kept:
    """A picture of the gallery."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def media_type(self) -> str:
        ending = self.path.suffix.removeprefix(".")
        return next(media for media, known in ENDINGS.items() if known == ending)

    @property
    def content(self) -> bytes:
        return self.path.read_bytes()

    @property
    def facts(self) -> dict[str, Any]:
        """What it says about itself; empty for what says nothing (a film)."""
        try:
            return read_png(self.content)
        except RequestError:
            return {}

    @property
    def request(self) -> dict[str, Any]:
        """The request that draws it again, its prompt as it was typed. Raises RequestError where it does not say."""
        asked = read_request(self.content)
        return {**asked, **self.typed, "raw": False} if self.typed else asked

    @property
    def typed(self) -> dict[str, str]:
        """The prompts as they were typed; the picture itself knows only how they were read."""
        try:
            return dict(json.loads(_beside(self.path).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def forget(self) -> None:
        """Delete it."""
        for path in (self.path, _beside(self.path)):
            path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def keep(folder: Path, content: bytes, media_type: str, typed: Mapping[str, str] | None = None) -> Kept:
    """A new file, named by its time, and what was typed beside it. Raises RequestError for what is no picture."""
    if media_type not in ENDINGS:
        raise RequestError(f"media type {media_type!r} is no picture.", hint=f"Known: {', '.join(ENDINGS)}.")
    folder.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime())
    path = folder / f"{stamp}-{time.time_ns() % 10**9:09d}-{secrets.token_hex(2)}.{ENDINGS[media_type]}"
    if typed:
        write_json(_beside(path), dict(typed))
    write_bytes(path, content)
    return Kept(path)


def kept(folder: Path) -> list[Kept]:
    """All pictures of a folder, the newest first."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.removeprefix(".") in ENDINGS.values())
    return [Kept(path) for path in sorted(found, reverse=True)]


def find(folder: Path, name: str | None) -> Kept | None:
    """The picture of a name; None where it is gone."""
    return next((each for each in kept(folder) if each.name == name), None)

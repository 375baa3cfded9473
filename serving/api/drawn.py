"""The pictures of an answer, one by one, whatever they came packed in."""

import base64
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from components.contracts import Done


@dataclass(frozen=True)
class Drawn:
    """One picture: the bytes of a PNG with its metadata inside, and what made it."""

    content: bytes
    facts: Mapping[str, Any]

    @property
    def base64(self) -> str:
        """The bytes as JSON carries them."""
        return base64.b64encode(self.content).decode("ascii")

    def converted(self, form: str, quality: int) -> "Drawn":
        """As another format of Pillow's, without the metadata inside; `form` "png": as it is."""
        if form == "png":
            return self
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(self.content)) as image:
            image.convert("RGB").save(buffer, form, quality=quality)
        return Drawn(buffer.getvalue(), self.facts)


def pictures(done: Done) -> list[Drawn]:
    """In the order of their seeds."""
    if done.media_type != "application/zip":
        return [Drawn(done.content, done.metadata)]
    with zipfile.ZipFile(io.BytesIO(done.content)) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    return [Drawn(content, facts) for content, facts in zip(contents, done.metadata["pictures"], strict=True)]

"""Whose pictures these are: licence, artist and source of every sample.

A folder's `provenance.json` holds {"license", "artist", "source", "files": {name: the same three}}; rows of
metadata.jsonl may have the same fields. What is said of one picture counts before
the recipe, and the recipe before the folder.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.errors import DataError
from components.image.dataset.captions import read_text

FILE = "provenance.json"
UNKNOWN = "unknown"
_FIELDS = ("license", "artist", "source")


@dataclass(frozen=True)
class Provenance:
    """What a folder says about its pictures."""

    folder: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    license: str | None = None

    @classmethod
    def read(cls, folder: Path, license: str | None) -> "Provenance":
        """From provenance.json where there is one; `license` is the recipe's. Raises DataError for a broken file."""
        path = folder / FILE
        if not path.is_file():
            return cls(license=license)
        try:
            content = json.loads(read_text(path))
            files = {str(name): dict(entry) for name, entry in content.get("files", {}).items()}
        except (json.JSONDecodeError, AttributeError, TypeError, ValueError) as error:
            hint = (
                'Expected {"license": "CC0-1.0", "artist": "…", "source": "…", "files": {"a.png": {"license": "…"}}}.'
            )
            raise DataError(f"{str(path)!r} is malformed: {error}.", hint=hint) from error
        return cls({key: str(content[key]) for key in _FIELDS if content.get(key)}, files, license)

    def of(self, name: str, row: Mapping[str, Any]) -> dict[str, str]:
        """license, artist and source of the picture `name` with metadata `row`; "unknown" where nobody says."""
        own = {**self.folder, **({"license": self.license} if self.license else {})}
        own |= {
            key: str(value) for key, value in {**row, **self.files.get(name, {})}.items() if key in _FIELDS and value
        }
        return {key: own.get(key, UNKNOWN) for key in _FIELDS}


def combined(values: Iterable[str]) -> str:
    """One statement for the whole: every distinct one, as an SPDX AND-expression for licences."""
    known = sorted(set(values) - {UNKNOWN}) or [UNKNOWN]
    return " AND ".join(known)

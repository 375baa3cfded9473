"""Captions beside pictures: read in the forms that tools write, the trigger word in front, tags shuffled."""

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import DataError
from components.image.promptset import with_trigger

METADATA = "metadata.jsonl"
SIDECARS = (".txt", ".caption")
_TEXT_FIELDS = ("text", "caption", "prompt", "tags")
_LONGEST_TAG = 5
_ENCODINGS = ("utf-8-sig", "cp932")
"""cp932: Shift-JIS as Japanese Windows writes it."""


def is_sidecar(path: Path) -> bool:
    """Whether a file stands beside pictures rather than being one."""
    return path.suffix.lower() in SIDECARS or path.name.lower() in (METADATA, "provenance.json")


def read_text(path: Path) -> str:
    """A text file in UTF-8 (with or without BOM), UTF-16 with BOM, or Shift-JIS. Raises DataError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"caption file {str(path)!r} cannot be read: {error.strerror}.") from error
    encodings = ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else _ENCODINGS
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"caption file {str(path)!r} is neither UTF-8 nor Shift-JIS text.", hint="Save it as UTF-8.")


def sidecar_caption(picture: Path) -> str:
    """The caption in `name.txt`, `name.caption` or `name.png.txt`; empty without one."""
    for suffix in SIDECARS:
        for path in (picture.with_suffix(suffix), picture.with_name(picture.name + suffix)):
            if path.is_file():
                return _one_line(read_text(path))
    return ""


def read_metadata(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of a metadata.jsonl by their `file_name`, which is relative to its folder.

    Raises:
        DataError: names the line that is not JSON, not an object, or without `file_name`.
    """
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows[Path(row["file_name"]).as_posix()] = row
        except json.JSONDecodeError as error:
            raise DataError(
                f"{str(path)!r}, line {number}, is not JSON: {error.msg}.", hint="One object a line."
            ) from error
        except (KeyError, TypeError) as error:
            hint = 'Expected {"file_name": "a.png", "text": "its caption"}.'
            raise DataError(f"{str(path)!r}, line {number}, names no file_name.", hint=hint) from error
    return rows


def metadata_caption(row: Mapping[str, Any]) -> str:
    """The caption of a metadata row: a text, or a list of tags."""
    for field in _TEXT_FIELDS:
        value = row.get(field)
        if value:
            return _one_line(", ".join(map(str, value)) if isinstance(value, list) else str(value))
    return ""


def variants(caption: str, trigger: str, count: int, seed: str) -> list[str]:
    """At most `count` captions, the one as written first; tags are shuffled behind the trigger, sentences are not."""
    listed = is_tags(caption)
    first = with_trigger(", ".join(split_tags(caption)) if listed else caption, trigger)
    tags = split_tags(first)
    if not listed or len(tags) < 3:
        return [first]
    found = {first: None}
    shuffler = random.Random(seed)
    for _ in range(4 * count):
        if len(found) >= count:
            break
        found[", ".join((tags[0], *shuffler.sample(tags[1:], len(tags) - 1)))] = None
    return list(found)


def is_tags(caption: str) -> bool:
    """Whether a caption is a list of tags: short parts between commas, none of them part of a sentence.

    Titles are tags ("the legend of zelda"), so "the" says nothing; "a girl", "with a gun", "and smiles" do.
    """
    parts = split_tags(caption)
    return bool(parts) and not any(_of_sentence(part) for part in parts)


def split_tags(caption: str) -> list[str]:
    """Parts between commas, Western or Japanese."""
    return [part.strip() for part in re.split(r"[,、，]", caption) if part.strip()]


def _of_sentence(part: str) -> bool:
    words = part.lower().split()
    closes = part.endswith("。") or (len(words) > 1 and part[-1] in ".!?")
    article = len(words) > 1 and not {"a", "an"}.isdisjoint(words[:2])
    return closes or article or len(words) > _LONGEST_TAG or words[0] == "and"


def _one_line(text: str) -> str:
    lines = (" ".join(line.split()).rstrip(", ") for line in text.splitlines())
    return ", ".join(line for line in lines if line)

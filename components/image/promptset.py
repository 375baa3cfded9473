"""Prompts with known answers, in disjoint sets, each for one use.

*train* is what distillation draws, *select* chooses checkpoints and every setting, *calibrate* tunes the confidence,
*report* is the only one that figures come from; *short* asks for one or two attributes, as people type; *gallery* is
to be looked at.

A file `<set>.json` holds {"set": name, "prompts": [{"prompt": text, "attributes": {attribute: value}, "seed": int}]}.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from components.errors import DataError

_ROUND = 1_000_003
"""Between the seeds of a prompt's pictures: far more than a set holds."""

SetName = Literal["train", "select", "calibrate", "report", "short", "gallery"]


@dataclass(frozen=True)
class PromptItem:
    """One prompt without style word or trigger, the attributes that it asks for, and the seed of its picture."""

    prompt: str
    attributes: Mapping[str, str]
    seed: int


def load(folder: Path, name: SetName, count: int | None = None) -> tuple[PromptItem, ...]:
    """The first `count` prompts of a set, all without `count`.

    Raises:
        DataError: the file is missing, damaged, empty, or holds fewer than `count` prompts.
    """
    path = folder / f"{name}.json"
    try:
        items = tuple(_item(entry) for entry in json.loads(path.read_text(encoding="utf-8-sig"))["prompts"])
    except OSError as error:
        raise DataError(
            f"prompt file {str(path)!r} cannot be read: {error.strerror}.",
            hint="Run `dvc pull` for the embedded prompts, or name your own folder.",
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"prompt file {str(path)!r} is malformed ({type(error).__name__}: {error}).",
            hint='Expected {"prompts": [{"prompt": text, "attributes": {attribute: value}, "seed": number}]}.',
        ) from error
    needed = count or 1
    if len(items) < needed:
        raise DataError(
            f"prompt file {str(path)!r} holds {len(items)} prompts; {needed} are asked for.", hint="Ask for fewer."
        )
    return items[:count]


def repeated(items: Sequence[PromptItem], count: int) -> tuple[PromptItem, ...]:
    """`count` prompts: those given, then the same again with other seeds."""
    rounds = (divmod(place, len(items)) for place in range(count))
    return tuple(replace(items[place], seed=items[place].seed + _ROUND * turn) for turn, place in rounds)


def digest(folder: Path) -> str:
    """sha256 of the *report* set: metrics of two models are comparable only where it is equal."""
    return hashlib.sha256((folder / "report.json").read_bytes()).hexdigest()


def with_style(prompt: str, word: str) -> str:
    """How the base is asked, which knows its styles by their words: `micah style, smile`."""
    return f"{word} style, {prompt}" if prompt else f"{word} style"


def with_trigger(prompt: str, trigger: str) -> str:
    """A caption or prompt as a LoRA is trained, measured and served with it: the trigger word first, as a whole word.

    A tag that is the trigger moves to the front, with its weight if it has one; a prompt that begins with the word
    stays as it is; everything else is kept as typed, behind it. An empty trigger changes nothing.
    """
    if not trigger:
        return prompt
    word = re.escape(trigger)
    tag = rf"(?:{word}|\(\s*{word}\s*(?::\s*[\d.]+\s*)?\)|\[\s*{word}\s*\])"
    tags = re.compile(rf"(?:^|[,、，])\s*({tag})\s*(?=[,、，]|$)", re.IGNORECASE)
    found = tags.search(prompt)
    rest = tags.sub("", prompt).strip(" ,、，\n") if found else prompt
    if found is None and re.match(rf"\s*{word}(?![\w-])", prompt, re.IGNORECASE):
        return prompt
    first = re.sub(word, lambda _: trigger, found[1], flags=re.IGNORECASE) if found else trigger
    return ", ".join(filter(None, (first, rest)))


def _item(entry: Mapping[str, Any]) -> PromptItem:
    attributes = {str(key): str(value) for key, value in entry.get("attributes", {}).items()}
    return PromptItem(str(entry["prompt"]), attributes, int(entry["seed"]))

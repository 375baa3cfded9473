"""The disjoint sets of prompts and seeds that models are trained, chosen, calibrated and reported with.

Each combination of hair colour, hair style and background belongs to one set (`renders.split_of`). *train* asks for
those that training pictures have; those of *report*, the only set that metrics come from, are in no other set, in no
training picture and in no path of a distillation. *short* asks for one or two attributes, too few for a combination.
"""

import argparse
import json
import random
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from components.artifact import write_bytes
from components.image.promptset import PromptItem, SetName
from components.portraits.vocabulary import ATTRIBUTES, covered, words
from components.portraits.world.captions import phrase
from components.portraits.world.renders import clashes, split_of

SIZES: Mapping[SetName, int] = {"train": 512, "select": 256, "calibrate": 256, "report": 512, "short": 256}

GALLERY = (
    "pink hair, smile, blue background", "blonde hair, laughing", "black hair, glasses",
    "red hair, short hair, frown", "blue hair, bob cut, smile, white background", "white hair, long hair, earrings",
    "green hair, close-up", "brown hair, dark skin, laughing, yellow background",
    "purple hair, tied hair, glasses, smile", "orange hair, tan skin, pink background", "smile", "glasses, earrings",
    "black hair, long hair, smile, pink background", "blonde hair, bob cut, earrings, smile",
    "pink hair, short hair, laughing, green background", "blue hair, frown, gray background",
    "white hair, glasses, frown", "red hair, long hair, laughing, purple background", "green hair, dark skin, smile",
    "brown hair, close-up, glasses", "purple hair, long hair, earrings, blue background",
    "orange hair, tied hair, laughing, white background", "black hair, bob cut, dark skin, yellow background",
    "blonde hair, facing left, smile",
)  # fmt: skip
"""What a person might type first. Nothing is measured on these; their seeds are their places."""

_ALWAYS = ("hair_color", "hair_style", "background")
_LEAST, _MOST = 4, 8
_FIRST_SEED = 1_000_000
_UNTYPED = frozenset(
    {("glasses", "no"), ("earrings", "no"), ("position", "center"), ("scale", "normal"), ("tilt", "none")}
)
"""What goes without saying: nobody types it as one of two words."""


def _ask(rng: random.Random, name: SetName) -> dict[str, str]:
    """What one prompt of the set asks for."""
    return _ask_for_little(rng) if name == "short" else _ask_for_much(rng, name)


def _ask_for_much(rng: random.Random, split: str) -> dict[str, str]:
    """Between 4 and 8 attributes with their values, a combination of that split among them."""
    others = [name for name in ATTRIBUTES if name not in _ALWAYS]
    asked = {*_ALWAYS, *rng.sample(others, rng.randint(_LEAST, _MOST) - len(_ALWAYS))}
    while True:
        drawn = {name: rng.choice(offered) for name, offered in ATTRIBUTES.items() if name in asked}
        if split_of(drawn) == split and _possible(drawn):
            return drawn


def _ask_for_little(rng: random.Random) -> dict[str, str]:
    """One or two attributes with their values."""
    asked = rng.sample(list(ATTRIBUTES), rng.randint(1, 2))
    while True:
        drawn = {name: rng.choice(offered) for name, offered in ATTRIBUTES.items() if name in asked}
        if _UNTYPED.isdisjoint(drawn.items()) and _possible(drawn):
            return drawn


def _possible(asked: Mapping[str, str]) -> bool:
    """Whether all of it can be seen in one picture."""
    return not clashes(asked) and covered("", asked).isdisjoint(asked)


def prompt_sets(seed: int = 0) -> dict[SetName, list[PromptItem]]:
    """All sets; no two prompts have the same text, the same attributes or the same seed."""
    rng = random.Random(f"prompts/{seed}")
    taken: set[object] = set()
    sets: dict[SetName, list[PromptItem]] = {name: [] for name in SIZES}
    noise = _FIRST_SEED
    for name, size in SIZES.items():
        while len(sets[name]) < size:
            asked = _ask(rng, name)
            text = phrase(asked, rng)
            marks = {text, frozenset(asked.items())}
            if taken.isdisjoint(marks):
                taken |= marks
                sets[name].append(PromptItem(text, asked, noise))
                noise += 1
    return sets


def gallery() -> list[PromptItem]:
    """`GALLERY` with what its words ask for."""
    meaning = {words(name, value)[0]: (name, value) for name, offered in ATTRIBUTES.items() for value in offered}
    return [
        PromptItem(text, dict(meaning[tag] for tag in text.split(", ")), place) for place, text in enumerate(GALLERY)
    ]


def write(folder: Path, seed: int = 0) -> None:
    """Write `<set>.json` of every set into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, prompts in {**prompt_sets(seed), "gallery": gallery()}.items():
        content = {"set": name, "prompts": [asdict(prompt) for prompt in prompts]}
        write_bytes(folder / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())


def main() -> None:
    """`python -m components.portraits.world.prompts --out data/prompts`: write the sets."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/prompts"))
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()

"""The three disjoint sets of prompts and seeds by which models are chosen, calibrated and reported.

All ask for combinations of hair colour, hair style and background that no training picture has; *report* is the only
set that figures come from.
"""

import argparse
import json
import random
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from components.artifact import write_bytes
from components.image.promptset import PromptItem
from components.portraits.vocabulary import ATTRIBUTES
from components.portraits.world.captions import phrase
from components.portraits.world.renders import clashes, is_held_out_combination

SIZES: Mapping[str, int] = {"select": 256, "calibrate": 256, "report": 512}

_ALWAYS = ("hair_color", "hair_style", "background")
_LEAST, _MOST = 4, 8
_FIRST_SEED = 1_000_000


def _ask(rng: random.Random) -> dict[str, str]:
    """Between 4 and 8 attributes with their values, a held-out combination among them."""
    others = [name for name in ATTRIBUTES if name not in _ALWAYS]
    asked = {*_ALWAYS, *rng.sample(others, rng.randint(_LEAST, _MOST) - len(_ALWAYS))}
    while True:
        drawn = {name: rng.choice(offered) for name, offered in ATTRIBUTES.items() if name in asked}
        if is_held_out_combination(drawn) and not clashes(drawn):
            return drawn


def prompt_sets(seed: int = 0) -> dict[str, list[PromptItem]]:
    """All three sets; no two prompts have the same text, the same attributes or the same seed."""
    rng = random.Random(f"prompts/{seed}")
    taken: set[object] = set()
    sets: dict[str, list[PromptItem]] = {name: [] for name in SIZES}
    noise = _FIRST_SEED
    for name, size in SIZES.items():
        while len(sets[name]) < size:
            asked = _ask(rng)
            text = phrase(asked, rng)
            marks = {text, frozenset(asked.items())}
            if taken.isdisjoint(marks):
                taken |= marks
                sets[name].append(PromptItem(text, asked, noise))
                noise += 1
    return sets


def write(folder: Path, seed: int = 0) -> None:
    """Write `select.json`, `calibrate.json` and `report.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, prompts in prompt_sets(seed).items():
        content = {"set": name, "prompts": [asdict(prompt) for prompt in prompts]}
        write_bytes(folder / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())


def main() -> None:
    """`python -m components.portraits.world.prompts --out data/prompts`: write the three sets."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/prompts"))
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()

"""The engine alone, in a process of its own: from a prompt in the model's words to a PNG, nothing read, told or sent.

    python -m flows.bench.load.bare FOLDER SECONDS OPTIONS < prompts

FOLDER is a promoted model's, OPTIONS its recipe's `package` section and `prompts` a list of texts, both JSON. Prints
the seconds of each picture as a JSON list.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.image.generation.canvas import png
from components.image.generation.latent import initial_noise, last, sample, to_images
from components.image.generator import ImageGenerator
from components.image.promptset import with_trigger

WARM = 3
"""Pictures before the first that counts."""


def pictures(generator: ImageGenerator, prompts: Sequence[str]) -> Iterator[bytes]:
    """One PNG after another, as the served model draws them."""
    engine, card = generator.engine, generator.promoted.card
    side, asked = card.model.resolution, {} if generator.bundle.lcm else {"guidance": 1.0}
    for number, prompt in enumerate(prompts * 10**6):
        condition = engine.encode([with_trigger(prompt, card.trigger)])
        noise = initial_noise(generator.bundle, [number], side, side)
        steps = sample(
            generator.bundle, condition, noise=noise, steps=card.steps, seeds=[number], predict=engine.predict,
            kind="lcm" if generator.bundle.lcm else "ddim", **asked,
        )  # fmt: skip
        yield png(to_images(engine.decode(last(steps)))[0])


def measure(folder: Path, seconds: float, options: Mapping[str, Any], prompts: Sequence[str]) -> list[float]:
    """Seconds of each picture drawn in `seconds`, at least one."""
    from components.image.product import load

    drawn, taken = pictures(load(folder, options), prompts), []
    for _ in range(WARM):
        next(drawn)
    until = time.perf_counter() + seconds
    while not taken or time.perf_counter() < until:
        began = time.perf_counter()
        next(drawn)
        taken.append(time.perf_counter() - began)
    return taken


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3]), json.load(sys.stdin))))

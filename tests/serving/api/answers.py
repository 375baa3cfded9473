"""Answers of a generator without one: pictures of one colour with the metadata of a real one."""

import io
import zipfile
from typing import Any

from PIL import Image

from components.contracts import Done
from components.image.generation.metadata import to_png

CARD = {"name": "tiny", "version": "1", "digest": "d" * 64, "trigger": "kyarachar", "mode": "lora"}


def facts(seed: int, **more: Any) -> dict[str, Any]:
    """What made a picture."""
    return {
        "mode": "text_to_image", "prompt": "kyarachar, red hair", "negative_prompt": "", "seed": seed, "steps": 4,
        "sampler": "lcm", "guidance_scale": 1.0, "loras": {}, "warnings": [], "width": 32, "height": 16,
        "model": "tiny", "model_version": "1", "model_digest": "d" * 64, "kyara": "1",
        "request": {"prompt": "red hair"},
        **more,
    }  # fmt: skip


def done(*seeds: int, **more: Any) -> Done:
    """One picture as PNG, several as ZIP."""
    files = {seed: to_png(Image.new("RGB", (32, 16), (seed, 0, 0)), facts(seed, **more)) for seed in seeds}
    if len(seeds) == 1:
        return Done(files[seeds[0]], "image/png", facts(seeds[0], **more))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for seed, content in files.items():
            archive.writestr(f"{seed}.png", content)
    told = {**facts(seeds[0], **more), "pictures": [facts(seed, **more) for seed in seeds]}
    return Done(buffer.getvalue(), "application/zip", told)

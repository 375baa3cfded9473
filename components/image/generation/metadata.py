"""What a picture says about itself: PNG text chunks that A1111, ComfyUI's readers and Kyara understand."""

import io
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel

from components.image.generation.pictures import Picture
from components.image.generation.request import SAMPLERS, GenerateRequest

# zlib's fastest level: a third of the time of the default for a tenth more bytes on line art.
COMPRESSION = 1


def kyara_version() -> str:
    """Version of the installed package; "dev" in a tree that is not installed."""
    try:
        return version("kyara")
    except PackageNotFoundError:
        return "dev"


def parameters(facts: Mapping[str, Any]) -> str:
    """The text that Stable Diffusion web UI writes and reads: prompt, negative prompt, then `Name: value` pairs."""
    pairs = {
        "Steps": facts["steps"],
        "Sampler": SAMPLERS.get(facts["sampler"], facts["sampler"]),
        "CFG scale": f"{facts['guidance_scale']:g}",
        "Seed": facts["seed"],
        "Size": f"{facts['width']}x{facts['height']}",
        "Model hash": str(facts["model_digest"])[:10],
        "Model": facts["model"],
        "Version": f"kyara {facts['kyara']}",
    }
    lines = [str(facts["prompt"])]
    if facts["negative_prompt"]:
        lines.append(f"Negative prompt: {facts['negative_prompt']}")
    lines.append(", ".join(f"{name}: {value}" for name, value in pairs.items()))
    return "\n".join(lines)


def told(request: GenerateRequest) -> dict[str, Any]:
    """What a request says beyond its class's defaults, as JSON, each picture as its digest."""
    values = {name: getattr(request, name) for name in type(request).model_fields}
    default = {name: field.get_default(call_default_factory=True) for name, field in type(request).model_fields.items()}
    asked = {name: value for name, value in values.items() if name == "mode" or value != default[name]}
    return {name: _without_pictures(_plain(value)) for name, value in asked.items()}


def _plain(value: Any) -> Any:
    """Nested models as mappings; pictures stay what they are."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _without_pictures(value: Any) -> Any:
    if isinstance(value, Picture):
        return value.digest
    if isinstance(value, Mapping):
        return {key: _without_pictures(each) for key, each in value.items()}
    return [_without_pictures(each) for each in value] if isinstance(value, list | tuple) else value


def to_png(image: Image.Image, facts: Mapping[str, Any]) -> bytes:
    """PNG with `parameters` (A1111) and `kyara` (JSON, everything) as text."""
    text = PngInfo()
    text.add_text("parameters", parameters(facts))
    text.add_text("kyara", json.dumps(dict(facts), ensure_ascii=False, sort_keys=True))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text, compress_level=COMPRESSION)
    return buffer.getvalue()


def read_png(png: bytes) -> dict[str, Any]:
    """The `kyara` facts of a picture; empty where it has none."""
    with Image.open(io.BytesIO(png)) as image:
        text = image.info.get("kyara")
    facts = json.loads(text) if isinstance(text, str) else {}
    return facts if isinstance(facts, dict) else {}

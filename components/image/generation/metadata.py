"""What a picture says about itself: PNG text chunks that A1111, ComfyUI's readers and Kyara understand."""

import contextlib
import io
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel

from components.errors import RequestError
from components.image.generation.moving import said_by
from components.image.generation.pictures import Picture
from components.image.generation.request import SAMPLERS, GenerateRequest

# zlib's fastest level: a third of the time of the default for a tenth more bytes on line art.
COMPRESSION = 1
MOST_KEPT = 4 * 2**20
"""Characters of pictures that a picture carries."""
LOST = object()
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


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
    if "strength" in facts.get("request", {}):
        pairs["Denoising strength"] = f"{facts['request']['strength']:g}"
    if facts.get("mode", "text_to_image") != "text_to_image":
        pairs["Mode"] = facts["mode"]
    lora = "".join(f" <lora:{name}:{weight:g}>" for name, weight in facts.get("loras", {}).items())
    lines = [f"{facts['prompt']}{lora}"]
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


def pictures_in(request: GenerateRequest) -> dict[str, Picture]:
    """Every picture of a request, by its digest."""
    return {picture.digest: picture for picture in _pictures(_plain(dict(request)))}


def _pictures(value: Any) -> Iterator[Picture]:
    if isinstance(value, Picture):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _pictures(each)


def to_png(image: Image.Image, facts: Mapping[str, Any], pictures: Mapping[str, str] | None = None) -> bytes:
    """PNG with `parameters` (A1111) and `kyara` (JSON, everything) as text.

    Args:
        pictures: what it was drawn from, by digest; up to MOST_KEPT characters are kept in it, so that it can be drawn
            again from the file alone.
    """
    text = PngInfo()
    text.add_text("parameters", parameters(facts))
    text.add_text("kyara", json.dumps(dict(facts), ensure_ascii=False, sort_keys=True))
    if pictures and sum(map(len, pictures.values())) <= MOST_KEPT:
        text.add_text("kyara_pictures", json.dumps(dict(pictures)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text, compress_level=COMPRESSION)
    return buffer.getvalue()


def read_png(png: bytes) -> dict[str, Any]:
    """The `kyara` facts of a picture; empty where it has none."""
    return _object(texts(png).get("kyara", "{}"))


def read_request(png: bytes) -> dict[str, Any]:
    """The values of the request that a picture was drawn by, from our JSON or from A1111's `parameters`.

    A picture that it was drawn from and does not carry is left out, for the caller to give.

    Raises:
        RequestError: no PNG, or one that says nothing.
    """
    found = texts(png)
    asked = _object(found.get("kyara", "{}")).get("request")
    if isinstance(asked, dict):
        known = _object(found.get("kyara_pictures", "{}"))
        return {name: value for name, value in _put_back(asked, known).items() if value is not LOST}
    if "parameters" in found:
        return read_parameters(found["parameters"])
    raise RequestError("the picture does not say how it was made.", hint="Expected a PNG of Kyara or of A1111's UI.")


def read_parameters(text: str) -> dict[str, Any]:
    """A1111's text as values of a request; what Kyara does not know is left out."""
    words, _, last = text.strip().rpartition("\n")
    if not re.match(r"Steps: \d", last):
        words, last = text, ""
    prompt, _, negative = words.partition("\nNegative prompt:")
    pairs = dict(_PAIR.findall(last))
    values: dict[str, Any] = {"prompt": prompt.strip(), "negative_prompt": negative.strip(), "raw": True}
    for name, (field, convert) in _A1111.items():
        with contextlib.suppress(KeyError, ValueError):
            values[field] = convert(pairs[name].strip())
    if size := re.fullmatch(r"(\d{1,5})x(\d{1,5})", pairs.get("Size", "").strip()):
        values |= {"width": int(size[1]), "height": int(size[2])}
    labels = {label.lower() for label in SAMPLERS.values()}
    if str(values.get("sampler", "")).lower() not in labels:
        values.pop("sampler", None)
    return values


_PAIR = re.compile(r'\s*([A-Z][\w ]*?): ("(?:[^"\\]|\\.)*"|[^,]*)(?:,|$)')
_A1111: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("steps", int),
    "Sampler": ("sampler", str),
    "CFG scale": ("guidance_scale", float),
    "Seed": ("seed", int),
}


def _put_back(value: Any, pictures: Mapping[str, Any]) -> Any:
    """Digests as the pictures that they name, or as LOST."""
    if isinstance(value, dict):
        return {key: _put_back(each, pictures) for key, each in value.items()}
    if isinstance(value, list):
        return [_put_back(each, pictures) for each in value]
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        found = pictures.get(value)
        return found if isinstance(found, str) and Picture(found).digest == value else LOST
    return value


def texts(png: bytes) -> dict[str, str]:
    """The text chunks of a picture by name. Raises RequestError for what is no sound PNG, WebP or GIF file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(png), formats=("PNG", "WEBP", "GIF")) as image:
                if image.format != "PNG":
                    return {"kyara": said_by(image)}
                return {str(key): value for key, value in image.info.items() if isinstance(value, str)}
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise RequestError(
            "the file is no sound PNG.", hint="Metadata are read from PNG, WebP and GIF files."
        ) from error


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

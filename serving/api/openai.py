"""OpenAI's pictures (`/v1/images/…`): their requests as ours, our answers as theirs.

What the model cannot do is refused and named, so that nobody waits for an effect that never comes. Fields of our own
requests (seed, steps, …) may stand beside theirs: `extra_body` of their client.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.contracts import Done
from components.image.generation.modes.image_to_image import ImageToImageRequest
from components.image.generation.modes.inpaint import InpaintRequest
from components.image.generation.pictures import Picture, inverted_opacity
from components.image.generation.request import MOST_PICTURES, GenerateRequest
from serving.api.drawn import pictures
from serving.api.error_shapes import FieldError
from serving.errors import NotFoundError

QUALITY = 90
"""Of JPEG and WebP where `output_compression` says nothing."""
_OWN = ("seed", "steps", "guidance_scale", "negative_prompt", "sampler", "loras", "raw", "strict", "trigger")


class ImagesRequest(BaseModel):
    """What OpenAI's client sends for a picture of a text. `null` is as if a field were not there."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=2000, description="Japanese or English, mistakes and all.")
    model: str | None = Field(None, max_length=200, description="As GET /v1/models names it; default: the champion.")
    n: int | None = Field(None, ge=1, le=MOST_PICTURES, description="Pictures, at neighbouring seeds.")
    size: str | None = Field(None, max_length=20, description="WIDTHxHEIGHT or auto, the model's own.")
    response_format: str | None = Field(None, max_length=20, description="b64_json; this server keeps no pictures.")
    output_format: Literal["png", "jpeg", "webp"] | None = Field(None, description="png carries the metadata.")
    output_compression: int | None = Field(None, ge=0, le=100, description="Quality of jpeg and webp.")
    background: Literal["auto", "opaque", "transparent"] | None = Field(None, description="transparent is refused.")
    quality: str | None = Field(None, max_length=20, description="Without effect: a model has one quality.")
    style: str | None = Field(None, max_length=20, description="Without effect: the style is the model's.")
    moderation: str | None = Field(None, max_length=20, description="Without effect.")
    user: str | None = Field(None, max_length=200, description="Without effect.")
    stream: bool | None = Field(None, description="true: events with previews.")
    partial_images: int | None = Field(None, ge=0, le=3, description="Previews of a stream.")
    seed: int | None = Field(None, description="Ours: equal seeds, equal pictures.")
    steps: int | None = Field(None, description="Ours: denoising steps.")
    guidance_scale: float | None = Field(None, description="Ours.")
    negative_prompt: str | None = Field(None, description="Ours.")
    sampler: str | None = Field(None, description="Ours.")
    loras: dict[str, float] | None = Field(None, description="Ours: name -> weight.")
    raw: bool | None = Field(None, description="Ours: the prompt as it is typed.")
    strict: bool | None = Field(None, description="Ours: refuse a prompt that can be read in several ways.")
    trigger: bool | None = Field(None, description="Ours: put the trigger word first.")


class EditsRequest(ImagesRequest):
    """What it sends, in a form, for a picture of a picture."""

    input_fidelity: str | None = Field(None, max_length=20, description="Without effect; see strength.")
    strength: float | None = Field(None, ge=0, le=1, description="Ours: how much may change.")


def text_request(body: ImagesRequest) -> GenerateRequest:
    """Text to image. Raises RequestError."""
    return GenerateRequest(**_shared(body))


def edit_request(body: EditsRequest, image: Picture, mask: Picture | None) -> GenerateRequest:
    """The picture, drawn anew where the mask is transparent; without a mask where the picture itself is, or all of it.

    Raises RequestError.
    """
    values = {**_shared(body), "image": image}
    if body.strength is not None:
        values["strength"] = body.strength
    where = inverted_opacity(image if mask is None else mask, "image" if mask is None else "mask")
    if where is None and mask is not None:
        raise FieldError(
            "mask", "it has no transparency.", hint="Its transparent pixels are those that are drawn anew."
        )
    if where is None:
        return ImageToImageRequest(**values)
    return InpaintRequest(**values, mask=where)


def _shared(body: ImagesRequest) -> dict[str, Any]:
    if body.response_format not in (None, "b64_json"):
        raise FieldError(
            "response_format",
            f"{body.response_format!r} cannot be served.",
            hint="Ask for b64_json: nothing is kept here.",
        )
    if body.background == "transparent":
        raise FieldError("background", "'transparent' cannot be served.", hint="The model draws opaque pictures.")
    if body.stream and (body.n or 1) > 1:
        raise FieldError("n", f"{body.n} pictures cannot be streamed.", hint="Stream one picture at a time.")
    own = {name: value for name in _OWN if (value := getattr(body, name)) is not None}
    return {"prompt": body.prompt, "n": body.n or 1, **_size(body.size), **own}


def _size(size: str | None) -> dict[str, int]:
    if size in (None, "auto"):
        return {}
    width, _, height = str(size).partition("x")
    if not (width.isascii() and width.isdecimal() and height.isascii() and height.isdecimal()):
        raise FieldError("size", f"{size!r} is no size.", hint="Expected WIDTHxHEIGHT in pixels, or auto.")
    return {"width": int(width), "height": int(height)}


def answer(body: ImagesRequest, done: Done) -> dict[str, Any]:
    """The pictures as base64. `revised_prompt` is the prompt as it was read, `seed` the one that draws it again."""
    form, quality = body.output_format or "png", QUALITY if body.output_compression is None else body.output_compression
    drawn = [each.converted(form, quality) for each in pictures(done)]
    data = [
        {"b64_json": each.base64, "revised_prompt": each.facts["prompt"], "seed": each.facts["seed"]} for each in drawn
    ]
    return {"created": int(time.time()), "data": data, **_look(form, drawn[0].facts)}


def _look(form: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    size = f"{facts['width']}x{facts['height']}"
    return {"background": "opaque", "output_format": form, "quality": "auto", "size": size}


def finished_event(body: ImagesRequest, done: Done, kind: str) -> dict[str, Any]:
    """The last event of a stream. Tokens are not counted here."""
    told = answer(body, done)
    (picture,) = told.pop("data")
    counts = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    usage = {**counts, "input_tokens_details": {"image_tokens": 0, "text_tokens": 0}}
    return {"type": f"{kind}.completed", "created_at": told.pop("created"), **told, **picture, "usage": usage}


def partial_event(content: str, index: int, kind: str) -> dict[str, Any]:
    """A preview of a stream."""
    told = {"b64_json": content, "partial_image_index": index, "created_at": int(time.time())}
    look = {"background": "opaque", "output_format": "png", "quality": "auto", "size": "auto"}
    return {"type": f"{kind}.partial_image", **told, **look}


def shown(done: int, total: int, wanted: int) -> bool:
    """Whether the step `done` of `total` is one of the `wanted` previews, which are spread over the steps."""
    return done < total and (done * (wanted + 1)) // total != ((done - 1) * (wanted + 1)) // total


def model_facts(name: str, created: int) -> dict[str, Any]:
    """One model of the list."""
    return {"id": name, "object": "model", "created": created, "owned_by": "kyara"}


def check_model(asked: str | None, served: Sequence[str]) -> None:
    """Raises NotFoundError for a model that is not served."""
    if asked is not None and asked not in served:
        raise NotFoundError(
            f"the model {asked!r} does not exist.", hint=f"Known: {', '.join(served)}.", code="model_not_found"
        )

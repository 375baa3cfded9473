"""The web UI's API (`/sdapi/v1/…`): its requests as ours, our answers as its own.

Fields that are absent are the model's own choice. Unknown fields are ignored; known ones that would change the picture
and that this model cannot honour are named in the answer's `info`, under `kyara.ignored`.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from components.contracts import Done
from components.image.generation.metadata import parameters
from components.image.generation.modes.image_to_image import ImageToImageRequest
from components.image.generation.modes.inpaint import InpaintRequest
from components.image.generation.pictures import Picture, fitted_mask
from components.image.generation.request import SAMPLERS, GenerateRequest
from serving.api.drawn import Drawn, pictures
from serving.api.error_shapes import FieldError

STRENGTH = 0.75
"""What the web UI takes where a request has no `denoising_strength`."""
WIDEST_FEATHER = 256
LONGEST = 200
"""Characters of an ignored value that are told."""
Card = Mapping[str, Any]


class TextToImage(BaseModel):
    """What front ends send for a picture of a text. `null` is as if a field were not there."""

    model_config = ConfigDict(extra="allow")

    prompt: str | None = Field(None, max_length=2000, description="`<lora:name:0.8>` in it adds a LoRA.")
    negative_prompt: str | None = Field(None, max_length=2000)
    seed: int | None = Field(None, description="-1: random.")
    steps: int | None = None
    cfg_scale: float | None = None
    sampler_name: str | None = Field(None, max_length=100)
    sampler_index: str | int | None = Field(None, description="An older name of sampler_name.")
    scheduler: str | None = Field(None, max_length=100)
    width: int | None = None
    height: int | None = None
    batch_size: int | None = Field(None, ge=1)
    n_iter: int | None = Field(None, ge=1)
    send_images: bool | None = None
    override_settings: dict[str, Any] | None = None


class ImageToImage(TextToImage):
    """What front ends send for a picture of a picture; with a mask: inpainting."""

    init_images: list[str] | None = Field(None, max_length=16, description="One picture, base64.")
    denoising_strength: float | None = None
    mask: str | None = Field(None, description="White is drawn anew, base64.")
    mask_blur: float | None = Field(None, ge=0)
    inpainting_mask_invert: int | bool | None = None


def _truthy(value: Any) -> bool:
    return bool(value)


def _not_one(value: Any) -> bool:
    return value not in (None, 1)


CHANGING: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("styles", "subseed_strength", "restore_faces", "tiling", "enable_hr", "eta"), _truthy),
    **dict.fromkeys(("s_churn", "s_tmin", "s_min_uncond", "script_name", "alwayson_scripts"), _truthy),
    **dict.fromkeys(("refiner_checkpoint", "inpaint_full_res", "resize_mode", "firstpass_image"), _truthy),
    **dict.fromkeys(("s_noise", "initial_noise_multiplier", "inpainting_fill"), _not_one),
    "seed_resize_from_w": lambda value: isinstance(value, int | float) and value > 0,
    "seed_resize_from_h": lambda value: isinstance(value, int | float) and value > 0,
    "scheduler": lambda value: str(value or "").lower() not in ("", "automatic"),
    "image_cfg_scale": lambda value: value is not None,
}
"""Fields that change a picture there and not here -> whether a value asks for it. Inpainting begins with the picture
itself here, which is `inpainting_fill` 1."""


@dataclass(frozen=True)
class Asked:
    """A request of ours, and the fields of theirs that it does not honour, with their values."""

    request: GenerateRequest
    ignored: Mapping[str, Any]


def text_to_image(body: TextToImage, card: Card) -> Asked:
    """Raises RequestError."""
    values, ignored = _shared(body, card)
    return Asked(GenerateRequest(**values), ignored)


def image_to_image(body: ImageToImage, card: Card) -> Asked:
    """With a mask inpainting, which keeps every other pixel. Raises RequestError."""
    given = body.init_images or []
    if len(given) != 1:
        raise FieldError("init_images", f"{len(given)} pictures were sent.", hint="Send one.")
    values, ignored = _shared(body, card)
    strength = STRENGTH if body.denoising_strength is None else body.denoising_strength
    values |= {"image": given[0], "strength": strength}
    if body.mask is None:
        return Asked(ImageToImageRequest(**values), ignored)
    # `feather` is twice the blur's standard deviation, over which the inner edge is mixed.
    feather = min(round(2 * (body.mask_blur or 0)), WIDEST_FEATHER)
    checked = InpaintRequest(**values, mask=body.mask, feather=feather)
    mask = fitted_mask(body.mask, given[0], inverted=bool(body.inpainting_mask_invert))
    return Asked(checked.model_copy(update={"mask": Picture(mask)}), ignored)


def _shared(body: TextToImage, card: Card) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of every request of ours, and what is ignored."""
    sent = body.model_dump()
    ignored = {name: sent[name] for name, asks in CHANGING.items() if name in sent and asks(sent[name])}
    seed = None if body.seed is None or body.seed < 0 else body.seed
    sampler = _sampler(body, card)
    if sampler is None and (named := body.sampler_name or body.sampler_index):
        ignored["sampler_name"] = named
    ignored |= {f"override_settings.{name}": value for name, value in _overrides(body, card).items()}
    values = {
        "prompt": (body.prompt or "").strip() or str(card.get("trigger", "")),
        "negative_prompt": body.negative_prompt,
        "seed": seed,
        "steps": body.steps,
        "guidance_scale": body.cfg_scale,
        "sampler": sampler,
        "width": body.width,
        "height": body.height,
        "n": (body.batch_size or 1) * (body.n_iter or 1),
    }
    return {name: value for name, value in values.items() if value is not None}, _short(ignored)


def _short(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that a message can hold; scripts may carry pictures."""
    texts = {name: json.dumps(value, default=str) for name, value in values.items()}
    return {name: values[name] if len(text) <= LONGEST else f"{text[:LONGEST]}…" for name, text in texts.items()}


def _sampler(body: TextToImage, card: Card) -> str | None:
    """The sampler's name here; None where it is not asked for, or does not fit the model."""
    asked = str(body.sampler_name or body.sampler_index or "").strip().lower()
    return next((name for name in samplers(card) if asked in (name, SAMPLERS[name].lower())), None)


def _overrides(body: TextToImage, card: Card) -> dict[str, Any]:
    given = body.override_settings or {}
    return {name: value for name, value in given.items() if not is_served(name, value, card)}


def is_served(name: str, value: Any, card: Card) -> bool:
    """Whether a setting says what is so anyway."""
    return name == "sd_model_checkpoint" and value in (None, "", card["name"], label(card), title(card))


def samplers(card: Card) -> list[Any]:
    """Names of the samplers that fit the model: a distilled one has its own."""
    distilled = card.get("mode", "none") != "none"
    return [name for name in SAMPLERS if (name == "lcm") == distilled]


def label(card: Card) -> str:
    """name:version."""
    return f"{card['name']}:{card['version']}"


def title(card: Card) -> str:
    """As the web UI writes it: name:version [hash]."""
    return f"{label(card)} [{short_hash(card)}]"


def short_hash(card: Card) -> str:
    """The first ten digits of the model's digest."""
    return str(card["digest"])[:10]


def answer(body: TextToImage, asked: Asked, done: Done) -> dict[str, Any]:
    """Pictures, the request as it came (without its pictures), and what made them as JSON in a string."""
    drawn = pictures(done)
    info = {**information(asked.request, drawn), "batch_size": body.batch_size or 1, "kyara": kyara_facts(asked, drawn)}
    images = [] if body.send_images is False else [each.base64 for each in drawn]
    return {"images": images, "parameters": _echo(body), "info": json.dumps(info)}


def interrupted(body: TextToImage, asked: Asked, preview: str | None) -> dict[str, Any]:
    """What there was when it was interrupted."""
    facts = {"interrupted": True, "ignored": dict(asked.ignored)}
    info = {"prompt": asked.request.prompt, "infotexts": [], "all_seeds": [], "kyara": facts}
    return {"images": [] if preview is None else [preview], "parameters": _echo(body), "info": json.dumps(info)}


def _echo(body: TextToImage) -> dict[str, Any]:
    """The fields that are known, without the pictures. JSON has no NaN, which Python reads and writes."""
    sent = body.model_dump(mode="json", include=set(type(body).model_fields) - {"init_images", "mask"})
    echo: dict[str, Any] = json.loads(json.dumps(sent), parse_constant=str)
    return {**echo, "init_images": None, "mask": None}


def information(request: GenerateRequest, drawn: Sequence[Drawn]) -> dict[str, Any]:
    """What front ends read of how pictures were made."""
    facts = drawn[0].facts
    return {
        "prompt": facts["prompt"],
        "all_prompts": [each.facts["prompt"] for each in drawn],
        "negative_prompt": facts["negative_prompt"],
        "all_negative_prompts": [each.facts["negative_prompt"] for each in drawn],
        "seed": facts["seed"],
        "all_seeds": [each.facts["seed"] for each in drawn],
        "subseed": 0,
        "all_subseeds": [0] * len(drawn),
        "subseed_strength": 0,
        "width": facts["width"],
        "height": facts["height"],
        "sampler_name": SAMPLERS.get(facts["sampler"], facts["sampler"]),
        "cfg_scale": facts["guidance_scale"],
        "steps": facts["steps"],
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": facts["model"],
        "sd_model_hash": str(facts["model_digest"])[:10],
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": getattr(request, "strength", None),
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [parameters(each.facts) for each in drawn],
        "styles": [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S"),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": f"kyara {facts['kyara']}",
    }


def kyara_facts(asked: Asked, drawn: Sequence[Drawn]) -> dict[str, Any]:
    """What the web UI has no words for: ignored fields, effects that were not had, how sure the prompt's reading is."""
    facts = drawn[0].facts
    told = {"ignored": dict(asked.ignored), "warnings": list(facts.get("warnings", ()))}
    return {**told, **({"confidence": facts["confidence"]} if "confidence" in facts else {})}


def options(card: Card) -> dict[str, Any]:
    """The settings that front ends ask for; none of them can be changed here."""
    return {
        "sd_model_checkpoint": title(card),
        "sd_checkpoint_hash": card["digest"],
        "sd_vae": "Automatic",
        "samples_format": "png",
        "return_grid": False,
        "show_progress_every_n_steps": 1,
        "CLIP_stop_at_last_layers": 1,
        "eta_noise_seed_delta": 0,
    }

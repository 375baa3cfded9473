"""The web UI's routes (`/sdapi/v1/…`) that front ends and bots call, and a few that they only look at."""

import asyncio
import base64
import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from components.image.generation.metadata import read_parameters, texts
from components.image.generation.pictures import content_of
from components.image.generation.request import SAMPLERS
from serving.api import a1111
from serving.api.a1111 import Asked, Card, ImageToImage, TextToImage
from serving.api.error_shapes import FieldError
from serving.api.jobs import NOTHING, InterruptedByUser, Jobs
from serving.errors import CLIENT_GONE, STATUS
from serving.request_queue import GoneError
from serving.submitting import deadline, left, submit_of

logger = logging.getLogger("bentoml.kyara")


class ErrorBody(BaseModel):
    """The web UI's shape of an error; front ends show `detail`."""

    error: str
    detail: str
    body: str
    errors: str


class PngInfo(BaseModel):
    """A picture that says how it was made."""

    image: str = Field(description="A PNG file, base64; a data URL too.")


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": "See `detail`."} for status in sorted({*STATUS.values(), 500})
}

router = APIRouter(prefix="/sdapi/v1", tags=["A1111"], responses=ERRORS)
jobs = Jobs()


def card_of(http: Request) -> Card:
    """The card of the model that is served now. Raises NotReadyError."""
    return submit_of(http).served().card


def caller(http: Request) -> str:
    """The name of the key that asks; "" without keys."""
    return str(getattr(http.state, "key", ""))


@router.post("/txt2img", response_model=None)
async def txt2img(body: TextToImage, http: Request) -> Response:
    """Pictures of a text."""
    return await _draw(body, a1111.text_to_image(body, card_of(http)), http)


@router.post("/img2img", response_model=None)
async def img2img(body: ImageToImage, http: Request) -> Response:
    """A picture of a picture; with a mask, inpainting."""
    return await _draw(body, await asyncio.to_thread(a1111.image_to_image, body, card_of(http)), http)


async def _draw(body: TextToImage, asked: Asked, http: Request) -> Response:
    who = caller(http)
    job, finished = submit_of(http).job(asked.request, seconds=deadline(http), previews=jobs.watched(who))
    with jobs.following(who, job.watch(left(http))):
        try:
            done = finished(await job.result())
        except InterruptedByUser:
            seen = None if job.latest is None else job.latest.content
            return _json(a1111.interrupted(body, asked, _base64(seen)))
        except GoneError:
            logger.info("the client left; its generation was stopped")
            return Response(status_code=CLIENT_GONE)
    return _json(await asyncio.to_thread(a1111.answer, body, asked, done))


def _json(value: Mapping[str, Any]) -> Response:
    """In ASCII: what clients sent comes back, half surrogate pairs and all."""
    return Response(json.dumps(value), media_type="application/json")


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode("ascii")


@router.get("/progress")
async def progress(http: Request, skip_current_image: bool = False) -> dict[str, Any]:
    """How far this caller's oldest job is, with its last preview."""
    who = caller(http)
    now, waiting = jobs.progress(who), jobs.count(who)
    told = now or NOTHING
    left_over = told.seconds * (1 - told.share) / told.share if told.share else 0.0
    return {
        "progress": told.share,
        "eta_relative": left_over,
        "state": {
            "skipped": False,
            "interrupted": False,
            "stopping_generation": False,
            "job": "" if now is None else "kyara",
            "job_count": waiting,
            "job_timestamp": "",
            "job_no": 0,
            "sampling_step": told.step,
            "sampling_steps": told.steps,
        },
        "current_image": None if skip_current_image else _base64(told.preview),
        "textinfo": None,
    }


@router.post("/interrupt")
@router.post("/skip")
async def interrupt(http: Request) -> dict[str, Any]:
    """Stop this caller's oldest job; it answers with the last preview."""
    jobs.interrupt(caller(http))
    return {}


@router.post("/png-info")
async def png_info(body: PngInfo) -> dict[str, Any]:
    """What a PNG says of how it was made."""
    found = await asyncio.to_thread(lambda: texts(content_of(body.image, "image")))
    told = found.get("parameters", "")
    return {"info": told, "items": found, "parameters": read_parameters(told) if told else {}}


@router.get("/options")
async def options(http: Request) -> dict[str, Any]:
    """The settings that front ends ask for."""
    return a1111.options(card_of(http))


@router.post("/options")
async def set_options(body: dict[str, Any], http: Request) -> dict[str, Any]:
    """Nothing can be set: what says what is so anyway passes, another model is refused, the rest is named."""
    card = card_of(http)
    others = {name: value for name, value in body.items() if not a1111.is_served(name, value, card)}
    if "sd_model_checkpoint" in others:
        asked = str(others["sd_model_checkpoint"])[:200]
        raise FieldError("sd_model_checkpoint", f"{asked!r} is not served.", hint=f"Known: {a1111.title(card)}.")
    same = a1111.options(card)
    return {"ignored": sorted(name[:100] for name, value in others.items() if same.get(name) != value)[:100]}


@router.get("/samplers")
async def samplers(http: Request) -> list[dict[str, Any]]:
    """The samplers that fit the model."""
    return [{"name": SAMPLERS[name], "aliases": [name], "options": {}} for name in a1111.samplers(card_of(http))]


@router.get("/schedulers")
async def schedulers() -> list[dict[str, Any]]:
    """A sampler here has one schedule."""
    return [{"name": "automatic", "label": "Automatic", "aliases": None, "default_rho": -1, "need_inner_model": False}]


@router.get("/sd-models")
async def sd_models(http: Request) -> list[dict[str, Any]]:
    """The champion."""
    card = card_of(http)
    named = {"title": a1111.title(card), "model_name": a1111.label(card), "filename": a1111.label(card)}
    return [{**named, "hash": a1111.short_hash(card), "sha256": card["digest"], "config": None}]


@router.get("/loras")
async def loras(http: Request) -> list[dict[str, Any]]:
    """LoRAs that `<lora:name:0.8>` in a prompt may name. Paths of this server are nobody's business."""
    return [{"name": name, "alias": name, "path": name, "metadata": {}} for name in await _parts(http, "loras")]


@router.get("/sd-vae")
async def sd_vae(http: Request) -> list[dict[str, Any]]:
    """Autoencoders that lie on this server; the web UI's requests cannot name one."""
    return [{"model_name": name, "filename": name} for name in await _parts(http, "vae")]


async def _parts(http: Request, kind: str) -> list[str]:
    found = await asyncio.to_thread(submit_of(http).served().generator.parts)
    return list(found.get(kind, ()))


@router.get("/upscalers")
@router.get("/prompt-styles")
@router.get("/hypernetworks")
async def nothing() -> list[dict[str, Any]]:
    """None: front ends ask when they connect."""
    return []

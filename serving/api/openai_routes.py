"""OpenAI's routes: `/v1/images/generations`, `/v1/images/edits`, `/v1/models`."""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from components.artifact import MANIFEST
from components.contracts import Preview
from components.errors import KyaraError, RequestError
from components.image.generation.pictures import Picture, picture_of
from components.image.generation.request import GenerateRequest
from serving.api import openai
from serving.api.error_shapes import FieldError, openai_error
from serving.api.openai import EditsRequest, ImagesRequest
from serving.champion import Served
from serving.errors import CLIENT_GONE, STATUS, body_of, status_of, unexpected_error
from serving.request_queue import GoneError
from serving.streaming import HEADERS, sse
from serving.submitting import Answer, submit_of

logger = logging.getLogger("bentoml.kyara")

GENERATED, EDITED = "image_generation", "image_edit"
MOST_FIELDS, MOST_FILES = 64, 4


class ErrorDetail(BaseModel):
    """What went wrong, as OpenAI's client reads it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's shape of an error."""

    error: ErrorDetail


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": "See `type` and `code`."} for status in sorted({*STATUS.values(), 500})
}
_FILE = {"type": "string", "format": "binary"}
_FORM = EditsRequest.model_json_schema()
_FORM = {**_FORM, "properties": {"image": _FILE, "mask": _FILE, **_FORM["properties"]}, "required": ["image", "prompt"]}

router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=ERRORS)


@router.post("/images/generations", response_model=None)
async def generations(body: ImagesRequest, http: Request) -> Response:
    """Pictures of a text, as `client.images.generate` asks for them."""
    openai.check_model(body.model, names(submit_of(http).served()))
    return await _respond(body, openai.text_request(body), http, GENERATED)


@router.post(
    "/images/edits",
    response_model=None,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def edits(http: Request) -> Response:
    """A picture of a picture, as `client.images.edit` asks for it: drawn anew where the mask is transparent."""
    submit = submit_of(http)
    async with _form(http) as form:
        body = _fields(form)
        openai.check_model(body.model, names(submit.served()))
        image, mask = await _file(form, "image"), await _file(form, "mask")
    if image is None:
        raise FieldError("image", "missing.", hint="Send a picture file.")
    request = await asyncio.to_thread(openai.edit_request, body, image, mask)
    return await _respond(body, request, http, EDITED)


@router.get("/models")
async def models(http: Request) -> dict[str, Any]:
    """The champion."""
    served = submit_of(http).served()
    return {"object": "list", "data": [openai.model_facts(str(served.card["name"]), _created(served))]}


@router.get("/models/{name}")
async def model(name: str, http: Request) -> dict[str, Any]:
    """The champion by its name, or by name:version."""
    served = submit_of(http).served()
    openai.check_model(name, names(served))
    return openai.model_facts(name, _created(served))


def names(served: Served) -> tuple[str, str]:
    """What a request may call the model: it follows the champion, or it is refused once another version is."""
    return str(served.card["name"]), served.label


def _created(served: Served) -> int:
    return int((served.folder / MANIFEST).stat().st_mtime)


@contextlib.asynccontextmanager
async def _form(http: Request) -> AsyncIterator[FormData]:
    """The form of a request. Raises RequestError."""
    try:
        form = await http.form(max_files=MOST_FILES, max_fields=MOST_FIELDS)
    except (HTTPException, KeyError, ValueError) as error:
        raise RequestError(f"the form cannot be read: {getattr(error, 'detail', error)}.") from error
    try:
        yield form
    finally:
        await form.close()


def _fields(form: FormData) -> EditsRequest:
    values: dict[str, Any] = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    try:
        if "loras" in values:
            values["loras"] = json.loads(values["loras"])
        return EditsRequest.model_validate(values)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise RequestError(f"the request is wrong: {told[:1000]}.") from error
    except (ValueError, RecursionError) as error:
        raise FieldError("loras", "this is no JSON.", hint='Expected {"name": 0.8}.') from error


async def _file(form: FormData, name: str) -> Picture | None:
    found = [value for key in (name, f"{name}[]") for value in form.getlist(key)]
    if len(found) > 1:
        raise FieldError(name, f"{len(found)} pictures were sent.", hint="Send one.")
    if not found:
        return None
    (value,) = found
    if not isinstance(value, UploadFile):
        raise FieldError(name, "expected a file.", hint="Send the picture as a file of the form.")
    return picture_of(await value.read())


async def _respond(body: ImagesRequest, request: GenerateRequest, http: Request, kind: str) -> Response:
    submit = submit_of(http)
    if body.stream:
        events = submit.events(request, http, previews=bool(body.partial_images))
        return StreamingResponse(_told(events, body, kind), media_type="text/event-stream", headers=HEADERS)
    try:
        done = await submit(request, http)
    except GoneError:
        logger.info("the client left; its generation was stopped")
        return Response(status_code=CLIENT_GONE)
    return JSONResponse(await asyncio.to_thread(openai.answer, body, done), headers={"X-Kyara-Model": done.model})


async def _told(events: AsyncGenerator[Preview | Answer, None], body: ImagesRequest, kind: str) -> AsyncIterator[str]:
    wanted, index = body.partial_images or 0, 0
    try:
        async for event in events:
            if isinstance(event, Answer):
                told = await asyncio.to_thread(openai.finished_event, body, event, kind)
            elif event.content is not None and openai.shown(event.done, event.total, wanted):
                told = openai.partial_event(base64.b64encode(event.content).decode("ascii"), index, kind)
                index += 1
            else:
                continue
            yield sse(told["type"], told)
    except KyaraError as error:
        yield _failed(error)
    except GoneError:
        logger.info("the client left; its generation was stopped")
    except Exception:
        logger.exception("generation failed")
        yield _failed(unexpected_error())
    finally:
        await events.aclose()


def _failed(error: KyaraError) -> str:
    """Its client raises APIError for an event named so."""
    return sse("error", openai_error(status_of(error), body_of(error)["error"]))

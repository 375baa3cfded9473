"""What is not drawn: how a text is read, what is served, what requests may name, and whether the service is well."""

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serving.documents import ERRORS
from serving.submitting import submit_of

router = APIRouter(tags=["ask"])


class PromptText(BaseModel):
    """A text as a user types it."""

    model_config = {"extra": "forbid"}

    prompt: str = Field(min_length=1, max_length=2000, description="Japanese or English, mistakes and all.")
    negative_prompt: str = Field("", max_length=2000, description="What the picture should not show.")


@router.post("/prompts", responses=ERRORS)
async def prompts(text: PromptText, http: Request) -> dict[str, Any]:
    """How a text is read: its layers, the words that the model gets, the confidence, and other readings."""
    generator = submit_of(http).served().generator
    return dict(await asyncio.to_thread(generator.reading, text.prompt, text.negative_prompt))


@router.get("/models", responses=ERRORS)
async def models(http: Request) -> dict[str, Any]:
    """The champion: its card and its figures."""
    served = submit_of(http).served()
    return {"champion": served.label, "models": [served.card]}


@router.get("/model", responses=ERRORS)
async def model(http: Request) -> dict[str, Any]:
    """The card of the model that is served now."""
    return dict(submit_of(http).served().card)


@router.get("/loras", responses=ERRORS)
async def loras(http: Request) -> dict[str, Any]:
    """Names that requests may use: of LoRAs and other parts that lie on this server."""
    generator = submit_of(http).served().generator
    return dict(await asyncio.to_thread(generator.parts))


@router.get("/livez", response_class=PlainTextResponse)
async def livez() -> Response:
    """The process answers."""
    return PlainTextResponse("\n")


@router.get("/readyz", responses=ERRORS)
async def readyz(http: Request) -> Response:
    """A model is warm and the service is not ending."""
    submit = submit_of(http)
    submit.drain.check()
    return JSONResponse({"model": submit.served().label})

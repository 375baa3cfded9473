"""OpenAPI of the whole surface: request schemas as the models have them, one error shape, pages without a CDN."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.bundled import PRODUCT
from serving.errors import STATUS

REFERENCE = "#/components/schemas/{model}"
BINARY = {"schema": {"type": "string", "format": "binary"}}
MODELS: dict[str, type[BaseModel]] = {}
"""Every request class that a route of ours takes, by name; filled by `documented`."""


class ErrorDetail(BaseModel):
    """What went wrong: a code for programs, a sentence that names the value, and what to do."""

    code: str
    message: str
    hint: str


class ErrorBody(BaseModel):
    """The one shape of all errors."""

    error: ErrorDetail


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": "See `code`."} for status in sorted({*STATUS.values(), 500})
}
"""`responses` of a FastAPI route that may answer with any of our errors."""


def documented(schema: type[BaseModel]) -> dict[str, Any]:
    """Arguments of a route that reads its own body and answers with whatever was drawn."""
    MODELS[schema.__name__] = schema
    body = {"application/json": {"schema": {"$ref": REFERENCE.format(model=schema.__name__)}}}
    drawn = {PRODUCT.MEDIA_TYPE: BINARY, "text/event-stream": {"schema": {"type": "string"}}, "*/*": BINARY}
    return {
        "response_model": None,
        "responses": {**ERRORS, 200: {"content": drawn, "description": "What was drawn."}},
        "description": schema.__doc__ or "",
        "openapi_extra": {"requestBody": {"required": True, "content": body}},
    }


def describe(application: FastAPI) -> Callable[[], dict[str, Any]]:
    """The document, made once."""

    def openapi() -> dict[str, Any]:
        if application.openapi_schema is None:
            document = get_openapi(
                title=application.title,
                version=application.version,
                description=application.description,
                routes=application.routes,
            )
            parts = document.setdefault("components", {}).setdefault("schemas", {})
            parts.update(_schemas())
            application.openapi_schema = document
        return application.openapi_schema

    return openapi


def _schemas() -> dict[str, Any]:
    """The definitions of all MODELS. One that writes its own schema is asked for it."""
    own = {name: model for name, model in MODELS.items() if model.model_json_schema.__func__ is not _STANDARD}  # type: ignore[attr-defined]
    plain = [(model, "validation") for name, model in MODELS.items() if name not in own]
    _, found = models_json_schema(plain, ref_template=REFERENCE)  # type: ignore[arg-type]
    definitions = dict(found.get("$defs", {}))
    for name, model in own.items():
        schema = model.model_json_schema(ref_template=REFERENCE)
        definitions.update(schema.pop("$defs", {}))
        definitions[name] = schema
    return definitions


_STANDARD = BaseModel.model_json_schema.__func__  # type: ignore[attr-defined]

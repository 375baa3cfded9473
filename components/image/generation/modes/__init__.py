"""THE table of modes: what can be asked by its `mode`, and who draws it.

A mode is a module here with a subclass of GenerateRequest, whose field `mode` is a literal, and a function
`draw(canvas, request)` that yields `Preview` events and then one `Drawn` (see `components.image.generation.canvas`).
A row below makes it reachable by HTTP, the command line and the studio. Servers check requests before they load
anything, so the module itself imports no torch: what is heavy is imported inside its functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from components.errors import RequestError
from components.image.generation.modes import (
    animate,
    control,
    edit,
    image_to_image,
    inpaint,
    interpolate,
    sliders,
    text_to_image,
    upscale,
)
from components.image.generation.request import GenerateRequest


@dataclass(frozen=True)
class Mode:
    """`draw` is a `Draw` of the canvas module, which loads torch and is not imported here; `route` is its HTTP path."""

    request: type[GenerateRequest]
    draw: Callable[..., Any]
    route: str


MODES: Mapping[str, Mode] = {
    "text_to_image": Mode(GenerateRequest, text_to_image.draw, "/txt2img"),
    "animate": Mode(animate.AnimateRequest, animate.draw, "/animate"),
    "edit": Mode(edit.EditRequest, edit.draw, "/transform"),
    "image_to_image": Mode(image_to_image.ImageToImageRequest, image_to_image.draw, "/img2img"),
    "inpaint": Mode(inpaint.InpaintRequest, inpaint.draw, "/inpaint"),
    "interpolate": Mode(interpolate.InterpolateRequest, interpolate.draw, "/interpolate"),
    "sliders": Mode(sliders.SlidersRequest, sliders.draw, "/sliders"),
    "upscale": Mode(upscale.UpscaleRequest, upscale.draw, "/upscale"),
    "control": Mode(control.ControlRequest, control.draw, "/control"),
}
DEFAULT = "text_to_image"
_OBJECT = TypeAdapter(dict[str, Any])


def parse(values: Mapping[str, Any]) -> GenerateRequest:
    """The request of its `mode`; without one text to image.

    Raises:
        RequestError: an unknown mode, or wrong values, all of them at once.
    """
    mode = values.get("mode", DEFAULT)
    if not isinstance(mode, str) or mode not in MODES:
        raise RequestError(f"mode {str(mode)[:80]!r} is unknown.", hint=f"Known: {', '.join(MODES)}.")
    return MODES[mode].request(**values)


class Request(GenerateRequest):
    """Any mode's request: making or validating one gives an instance of its mode's own class. Raises RequestError."""

    def __new__(cls, /, **values: Any) -> Any:
        return parse(values)

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """Every mode's fields in one object; the modes that a field belongs to stand in its description."""
        schemas = {name: mode.request.model_json_schema(*args, **options) for name, mode in MODES.items()}
        shared = schemas[DEFAULT]
        merged = {**shared, "title": "Request", "required": [], "$defs": {}}
        merged["properties"] = dict(shared["properties"])
        merged["properties"]["mode"] = {**shared["properties"]["mode"], "enum": list(MODES)}
        for name, schema in schemas.items():
            merged["$defs"].update(schema.get("$defs", {}))
            for field, facts in schema["properties"].items():
                if field not in merged["properties"]:
                    merged["properties"][field] = {**facts, "description": f"{name}: {facts.get('description', '')}"}
        return merged

    @classmethod
    def model_validate(cls, obj: Any, **_: Any) -> Any:
        """From a mapping. Raises RequestError."""
        return parse(_OBJECT.validate_python(obj))

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **_: Any) -> Any:
        """From JSON. Raises RequestError; pydantic's ValidationError where it is no JSON object."""
        return parse(_OBJECT.validate_json(json_data))

"""What can be asked of an image model. No torch here: a server checks requests before a model is loaded."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from components.errors import RequestError
from components.recipe import Frozen

MAX_SEED = 2**32 - 1
SamplerName = Literal["lcm", "ddim", "euler_a", "dpmpp_2m", "unipc"]
SAMPLERS: Mapping[SamplerName, str] = dict(
    zip(get_args(SamplerName), ("LCM", "DDIM", "Euler a", "DPM++ 2M", "UniPC"), strict=True)
)
"""Samplers by name, and what the field calls them."""


class GenerateRequest(Frozen):
    """What a user asks for. Wrong values raise RequestError, which names every one of them."""

    prompt: str = Field(min_length=1, max_length=2000, description="What to draw.")
    negative_prompt: str = Field(
        "", max_length=2000, description="What to move away from; has an effect above guidance 1."
    )
    seed: int | None = Field(
        None, strict=True, ge=0, le=MAX_SEED, description="Equal seeds give equal pictures; null: random, and reported."
    )
    steps: int | None = Field(None, strict=True, ge=1, le=100, description="Denoising steps; null: the model's own.")
    guidance_scale: float | None = Field(None, ge=0, le=30, description="Guidance scale; null: as distilled.")
    sampler: SamplerName | None = Field(
        None, description="lcm (distilled models), ddim, euler_a, dpmpp_2m or unipc; null: the model's own."
    )
    width: int | None = Field(None, strict=True, ge=32, le=4096, description="Pixels; null: the model's own.")
    height: int | None = Field(None, strict=True, ge=32, le=4096, description="Pixels; null: the model's own.")
    raw: bool = Field(False, description="Give the model the prompt as it is typed; it is read and mended otherwise.")
    strict: bool = Field(False, description="Refuse a prompt that can be read in several ways.")
    trigger: bool = Field(True, description="Put the model's trigger word first, where it is not.")

    @field_validator("sampler", mode="before")
    @classmethod
    def _by_label(cls, value: Any) -> Any:
        """Accept what other clients call a sampler: "DPM++ 2M", "Euler a"."""
        names = {label.lower(): name for name, label in SAMPLERS.items()}
        return names.get(value.lower(), value) if isinstance(value, str) else value

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise RequestError(f"the request is wrong: {'; '.join(map(_sentence, error.errors()))}.") from error
        if not self.prompt.strip():
            raise RequestError(f"the request is wrong: prompt: {self.prompt!r} is empty.")


def _sentence(error: Any) -> str:
    """One pydantic error as: field, value, what was expected."""
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{field}: no such field; known: {', '.join(GenerateRequest.model_fields)}"
    if error["type"] == "missing":
        return f"{field}: missing"
    value = repr(error["input"])
    return f"{field}: {value if len(value) <= 80 else value[:77] + '…'} is wrong: {error['msg']}"

"""What can be asked of an image model. No torch here: a server checks requests before a model is loaded."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from components.errors import RequestError
from components.image.generation.pictures import Picture
from components.recipe import Frozen

MAX_SEED = 2**32 - 1
MOST_PICTURES = 16
HEAVIEST_LORA = 4.0
MOST_LORAS = 8
SamplerName = Literal["lcm", "ddim", "euler_a", "dpmpp_2m", "unipc"]
SAMPLERS: Mapping[SamplerName, str] = dict(
    zip(get_args(SamplerName), ("LCM", "DDIM", "Euler a", "DPM++ 2M", "UniPC"), strict=True)
)
"""Samplers by name, and what the field calls them."""


MovingFormat = Literal["gif", "webp", "mp4"]
MaskSource = Literal["attention", "difference", "judge", "none"]
"""Who says where an edit may draw: the cross-attention, the model's two answers, the judge's saliency; everywhere."""


class IpAdapter(Frozen):
    """A picture that a model looks at beside the prompt."""

    name: str = Field(max_length=200, description="A folder of KYARA_PARTS/ip_adapter.")
    image: Picture = Field(description="What to look at, base64.")
    weight: float = Field(0.6, ge=0, le=2, description="0: not at all.")


class Refiner(Frozen):
    """SDXL's second model, which draws over what the first made."""

    name: str = Field(max_length=200, description="A folder of KYARA_PARTS/refiner.")
    strength: float = Field(0.3, gt=0, le=1, description="How much is drawn over.")


class GenerateRequest(Frozen):
    """What a user asks for: text to image, and what every other mode shares. Wrong values raise RequestError, which
    names every one of them.
    """

    best_of: ClassVar[bool] = True
    """Whether a judge may choose among several answers by what the prompt asks for."""

    mode: str = Field("text_to_image", description="A row of the table of modes (`components.image.generation.modes`).")
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
    n: int = Field(
        1, strict=True, ge=1, le=MOST_PICTURES, description="Pictures at consecutive seeds; several come as a ZIP file."
    )
    loras: dict[str, Annotated[float, Field(ge=-HEAVIEST_LORA, le=HEAVIEST_LORA)]] = Field(
        default_factory=dict,
        max_length=MOST_LORAS,
        description="LoRAs of KYARA_LORAS by name, with weights; `<lora:name:0.8>` in the prompt does the same.",
    )
    vae: str | None = Field(
        None, max_length=200, description="Another autoencoder: a folder of KYARA_PARTS/vae (SD 1.5, SDXL)."
    )
    ip_adapter: IpAdapter | None = Field(None, description="A picture to look at (SD 1.5, SDXL).")
    refiner: Refiner | None = Field(None, description="A second model that draws over the result (SDXL).")
    raw: bool = Field(False, description="Give the model the prompt as it is typed; it is read and mended otherwise.")
    strict: bool = Field(False, description="Refuse a prompt that can be read in several ways.")
    trigger: bool = Field(True, description="Put the model's trigger word first, where it is not.")

    @field_validator("mode")
    @classmethod
    def _own_mode(cls, value: str) -> str:
        """A class is of one mode; `modes.parse` picks the class."""
        own = cls.model_fields["mode"].default
        if value != own:
            raise ValueError(f"expected {own!r}")
        return value

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
            fields = type(self).model_fields
            raise RequestError(
                f"the request is wrong: {'; '.join(_sentence(each, fields) for each in error.errors())}."
            ) from error
        if not self.prompt.strip() and type(self).model_fields["prompt"].is_required():
            raise RequestError(f"the request is wrong: prompt: {self.prompt!r} is empty.")


def _sentence(error: Any, fields: Iterable[str]) -> str:
    """One pydantic error as: field, value, what was expected."""
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{field}: no such field; known: {', '.join(fields)}"
    if error["type"] == "missing":
        return f"{field}: missing"
    given = error["input"]
    value = repr(given[:80] if isinstance(given, str) else given)
    return f"{field}: {value if len(value) <= 80 else value[:77] + '…'} is wrong: {error['msg']}"

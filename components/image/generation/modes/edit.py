"""CharacterTransformer: the same character with another expression, hair colour, clothes or background.

The words of the prompt change, and only the places that this is about are drawn over: inpainting, from the noise
that the picture was drawn from where its seed is known, else from the picture noised to `strength`.
"""

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from components.errors import RequestError
from components.image.generation.changes import Changed, changed
from components.image.generation.modes.inpaint import composed
from components.image.generation.pictures import Picture
from components.image.generation.request import GenerateRequest, MaskSource

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from components.contracts import Preview
    from components.image.generation.canvas import Canvas, Events, Plan


class EditRequest(GenerateRequest):
    """What a picture shows, and what of it shall become something else."""

    best_of: ClassVar[bool] = False
    mode: Literal["edit"] = "edit"
    prompt: str = Field("", max_length=2000, description="What the picture shows; empty: what its own metadata say.")
    image: Picture | None = Field(
        None, description="The picture, base64; null: it is drawn first, from the prompt and the seed."
    )
    change: dict[str, str] = Field(
        min_length=1,
        max_length=16,
        description="Attribute -> value (expression -> frown), or words of the prompt -> other words.",
    )
    strength: float = Field(
        0.9, ge=0, le=1, description="How far a given picture is drawn anew where it changes; a drawn one is wholly."
    )
    mask: MaskSource = Field(
        "difference",
        description="Where it may change: difference (where the model wants something else), attention (where the "
        "words are read), judge (where the judge looks), none (everywhere).",
    )


class CharacterTransformer:
    """One edit on one canvas. `before` is the picture as it was, once it is there."""

    def __init__(self, canvas: "Canvas", request: EditRequest) -> None:
        self.canvas, self.request = canvas, request
        self.before: Image.Image | None = None if request.image is None else canvas.given(request.image, "image")
        self.change = self._read()

    def run(self) -> "Events":
        """Previews, then the edited picture."""
        from components.image.generation.locating import CALLS

        canvas = self.canvas
        size = canvas.size() if self.before is None else self.before.size
        given = self.before is not None
        strength = self.request.strength if given else 1.0
        source = canvas.plan(*size, prompt=self._source) if not given else None
        target = canvas.plan(*size, prompt=self.change.prompt, strength=strength)
        if self.request.mask != "none":
            canvas.count(target, CALLS)
        clean = yield from self._clean(source)
        yield from self._drawn(clean, source or canvas.plan(*size, prompt=self._source, strength=0.0), target)

    def _drawn(self, clean: "Tensor", source: "Plan", target: "Plan") -> "Events":
        from components.image.generation.locating import locate
        from components.image.generation.start import Keep

        assert self.before is not None
        canvas, request = self.canvas, self.request
        mask = locate(canvas, request.mask, self.change, source, target, clean)
        keep = None if request.mask == "none" else Keep(mask, clean)
        latents = yield from canvas.sample(target, clean=clean if request.image else None, keep=keep)
        image = canvas.picture(latents)
        image = image if keep is None else inside(self.before, image, mask)
        yield canvas.drawn(target, image, before=source.prompt, covered=round(float(mask.mean()), 4))

    def _clean(self, source: "Plan | None") -> Generator["Preview", None, "Tensor"]:
        """Latents of the picture as it is, drawn where it was not given."""
        if self.before is not None:
            return self.canvas.encode(self.before)
        assert source is not None
        latents = yield from self.canvas.sample(source)
        self.before = self.canvas.picture(latents)
        return latents.cpu()

    def _read(self) -> Changed:
        """The change in the model's words. Raises RequestError."""
        self._source = self.request.prompt.strip() or self._told()
        return changed(self._source, self.request.change, self.canvas.vocabulary)

    def _told(self) -> str:
        """The prompt that a picture of Kyara's or A1111's says it was drawn from."""
        from components.image.generation.metadata import read_png, read_request
        from components.image.generation.pictures import content_of

        facts: dict[str, Any] = {}
        if self.request.image is not None:
            with contextlib.suppress(RequestError):  # it says nothing
                content = content_of(self.request.image, "image")
                facts = read_png(content) or read_request(content)
        if not facts.get("prompt"):
            raise RequestError(
                "prompt: '' is empty, and no picture says what it shows.", hint="Say what the picture shows."
            )
        return str(facts["prompt"])


def inside(before: "Image.Image", after: "Image.Image", mask: "Tensor") -> "Image.Image":
    """The picture before, with what came after where the mask [1, 1, h, w] is; elsewhere bit by bit as it was."""
    from torch.nn import functional

    wide = functional.interpolate(mask, (before.height, before.width), mode="bilinear", align_corners=False)
    return composed(before, after, wide[0, 0].clamp(0, 1).numpy())


def draw(canvas: "Canvas", request: EditRequest) -> "Events":
    """The picture after the change."""
    return CharacterTransformer(canvas, request).run()

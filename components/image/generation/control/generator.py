"""Draws under controls: what each is shown is made or found, the networks are loaded, the one UNet is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from PIL import Image, ImageOps
from torch import Tensor

from components.errors import KyaraError, RequestError
from components.image.families.bundle import Condition
from components.image.generation.control import READER
from components.image.generation.control.keypoints import UNSURE, KeypointReader
from components.image.generation.control.networks import Control, Controlled, load_controlnet, save_memory, shown
from components.image.generation.control.pose import figure
from components.image.generation.control.shelf import Shelved, base_digest, find
from components.image.generation.control.sketch import drawn, find_lines, given
from components.image.generation.pictures import decoded
from components.settings import settings

if TYPE_CHECKING:
    from components.image.generation.canvas import Canvas, Events
    from components.image.generation.modes.control import ControlRequest, Steering

KEPT = 4
"""ControlNets that stay loaded beside a UNet."""
_loaded: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
"""By UNet, so that they go when it goes."""


@dataclass
class ControlledCharacterGenerator:
    """A canvas under controls. The UNet is the canvas' own; ControlNets are loaded once and kept beside it."""

    canvas: "Canvas"

    def draw(self, request: "ControlRequest") -> "Events":
        """One picture of the prompt. Raises RequestError, ModelError."""
        counted = {f"controls.{place}": each for place, each in enumerate(request.controls) if each.weight > 0}
        size = self.canvas.size()
        plan = self.canvas.plan(*size, controls=len(counted))
        controls = [self.control(each, size, field) for field, each in counted.items()]
        latents = yield from self.canvas.sample(plan, predict=self.predict(controls) if controls else None)
        engine = self.canvas.plain.name if controls else self.canvas.engine.name
        yield self.canvas.drawn(plan, self.canvas.picture(latents), engine=engine)

    def predict(self, controls: Sequence[Control]) -> Any:
        """The one UNet's output under controls, with this request's LoRAs and IP-Adapter, as Bundle.predict.

        In plain torch: a converted UNet takes no residuals, and a second one that does would be a second copy.
        """

        def ask(latents: Tensor, t: Tensor, condition: Condition, guidance: Tensor | None = None) -> Tensor:
            with torch.no_grad():
                residuals = Controlled(self.canvas.bundle, controls).residuals(latents, t, condition)
                return self.canvas.predict(latents, t, condition, guidance, residuals)

        return ask

    def control(self, steering: "Steering", size: tuple[int, int], field: str = "control") -> Control:
        """One control, loaded and drawn at `size` (width, height)."""
        found = find(steering.kind, steering.model, self._base, self.canvas.promoted.folder)
        if found.card.get("base", self._base) != self._base:
            self.canvas.warnings.append(f"ControlNet {found.name!r} was trained on another base: it may steer badly.")
        picture = self.picture(steering, found, size, field)
        return Control(self._network(found, field), shown(picture, self.canvas.bundle.device), steering.weight)

    def picture(self, steering: "Steering", found: Shelved, size: tuple[int, int], field: str) -> Image.Image:
        """What the ControlNet is shown; a picture of another shape is cut to `size` around its middle.

        Raises RequestError.
        """
        if steering.pose is not None:
            return figure(steering.pose.keypoints(), size)
        assert steering.image is not None
        image = ImageOps.fit(decoded(steering.image, f"{field}.image"), size, Image.Resampling.LANCZOS)
        if not steering.from_picture:
            return given(image) if steering.kind == "sketch" else image
        if steering.kind == "sketch":
            return drawn(find_lines(image))
        ((face, spread),) = KeypointReader.load(Path(found.place) / READER).read([image])
        if spread > UNSURE:
            raise RequestError(
                f"{field}.image: no face is found in it.", hint="Give the pose by numbers, or as a figure."
            )
        return figure(face, size)

    @cached_property
    def _base(self) -> str:
        """Digest of the model's base, by which a ControlNet knows its own."""
        return base_digest(self.canvas.promoted.base.base)

    def _network(self, found: Shelved, field: str) -> Any:
        kept = _loaded.setdefault(self.canvas.bundle.unet, {})
        if found.place not in kept:
            try:
                kept[found.place] = load_controlnet(found.place, self.canvas.bundle)
            except KyaraError as error:
                raise RequestError(f"{field}: {error.message}", hint=error.hint) from error
            if settings().low_memory:
                save_memory(self.canvas.bundle.unet, kept[found.place], self.canvas.bundle.device)
            if len(kept) > KEPT:
                del kept[next(iter(kept))]
        kept[found.place] = kept.pop(found.place)
        return kept[found.place]

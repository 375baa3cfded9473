"""Between key frames: prompts and noise interpolated, frames spread evenly along the way, what does not change held.

Frames at equal steps of the embedding jump where the model changes its mind. So the way is halved where neighbouring
pictures differ most until there are enough frames: as many pictures are drawn as are shown.
"""

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from components.contracts import Preview
from components.image.families.bundle import Condition
from components.image.generation.canvas import Canvas, Plan
from components.image.generation.changes import changed
from components.image.generation.latent import initial_noise
from components.image.generation.latent_editor import slerp
from components.image.generation.locating import CALLS, differing, to_mask
from components.image.generation.modes.interpolate import KeyFrame
from components.image.generation.start import Keep

NEAREST = 1 / 64
"""Of the way between two keys: what lies nearer is not halved any more."""


@dataclass(frozen=True)
class Key:
    """A picture that the way passes through."""

    plan: Plan
    noise: Tensor


@dataclass(frozen=True)
class Frame:
    """A picture at a place of the way: 1.5 is in the middle between the keys 1 and 2."""

    place: float
    latents: Tensor
    image: Image.Image


@dataclass(frozen=True)
class Way:
    """Keys in order; `spare` plans count what the frames between them cost.

    held: all but a mask stays as the first key has it.
    closed: behind the last key the way leads back to the first.
    """

    canvas: Canvas
    keys: Sequence[Key]
    spare: Sequence[Plan]
    held: bool
    closed: bool

    @classmethod
    def plan(cls, canvas: Canvas, keys: Sequence[KeyFrame], count: int, *, hold: bool, closed: bool = False) -> "Way":
        """`count` frames through the request itself, then `keys`, all checked and counted before one is drawn.

        Raises:
            RequestError: a key that cannot be read, too few frames, too much cost.
        """
        size = canvas.size()
        keys = [_worded(canvas, key) for key in keys]
        canvas.request = canvas.request.model_copy(update={"keys": tuple(keys)})  # as the metadata tell it
        prompts = [canvas.request.prompt, *(_prompt(canvas, key) for key in keys)]
        seeds = [canvas.seed, *(canvas.seed if key.seed is None else key.seed for key in keys)]
        plans = _equally_long(canvas, [canvas.plan(*size, prompt=prompt) for prompt in prompts])
        noises = [initial_noise(canvas.bundle, [seed], size[1], size[0]) for seed in seeds]
        spare = [canvas.plan(*size, prompt=prompts[0]) for _ in range(count - len(plans))]
        held = hold and len(set(seeds)) == 1 and all(key.prompt is None for key in keys) and len(set(prompts)) > 1
        if held:
            canvas.count(plans[0], CALLS * (len(plans) - 1))
        found = [Key(*pair) for pair in zip(plans, noises, strict=True)]
        return cls(canvas, found, spare, held, closed and len(found) > 1)

    def frames(self) -> Generator[Preview, None, list[Frame]]:
        """Frames in order, as many as were planned, the keys among them."""
        found = [(yield from self._frame(0.0, None))]
        keep = self._keep(found[0].latents) if self.held else None
        for key in range(1, len(self.keys)):
            found.append((yield from self._frame(float(key), keep)))
        if self.closed:
            found.append(replace(found[0], place=float(len(self.keys))))  # drawn once: no seam
        for _ in self.spare:
            at = widest(found)
            place = (found[at].place + found[at + 1].place) / 2
            found.insert(at + 1, (yield from self._frame(place, keep)))
        return found[:-1] if self.closed else found

    def _frame(self, place: float, keep: Keep | None) -> Generator[Preview, None, Frame]:
        plan, noise = self.at(place)
        latents = yield from self.canvas.sample(plan, noise=noise, keep=keep)
        return Frame(place, latents.cpu(), self.canvas.picture(latents))

    def at(self, place: float) -> tuple[Plan, Tensor]:
        """What is drawn at a place: embeddings go over straight, noise along the sphere."""
        amount = place % 1
        a, b = self.keys[int(place)], self.keys[(int(place) + 1) % len(self.keys)]
        if amount == 0:
            return a.plan, a.noise
        return replace(a.plan, condition=between(a.plan.condition, b.plan.condition, amount)), slerp(
            a.noise, b.noise, amount
        )

    def _keep(self, clean: Tensor) -> Keep:
        """Where any key wants something else than the first."""
        first = self.keys[0].plan
        masks = [to_mask(differing(self.canvas, first, key.plan, clean)) for key in self.keys[1:]]
        return Keep(torch.stack(masks).amax(0), clean)


def between(first: Condition, second: Condition, amount: float) -> Condition:
    """A condition between two, straight."""
    hidden = torch.lerp(first.hidden, second.hidden, amount)
    if first.pooled is None or second.pooled is None:
        return replace(first, hidden=hidden)
    return replace(first, hidden=hidden, pooled=torch.lerp(first.pooled, second.pooled, amount))


def distance(first: Image.Image, second: Image.Image) -> float:
    """Root mean square difference of two pictures of one size, 0 to 1."""
    a, b = (np.asarray(picture, np.float32) / 255 for picture in (first, second))
    return float(np.sqrt(((a - b) ** 2).mean()))


def widest(frames: Sequence[Frame]) -> int:
    """The place in the list behind which the way is halved: where neighbours differ most and are not too near."""
    gaps = [
        (b.place - a.place > NEAREST, distance(a.image, b.image), b.place - a.place)
        for a, b in itertools.pairwise(frames)
    ]
    return gaps.index(max(gaps))


def _worded(canvas: Canvas, key: KeyFrame) -> KeyFrame:
    return key if key.prompt is None else key.model_copy(update={"prompt": canvas.words(key.prompt)})


def _prompt(canvas: Canvas, key: KeyFrame) -> str:
    text = canvas.request.prompt if key.prompt is None else key.prompt
    return changed(text, key.change, canvas.vocabulary).prompt


def _equally_long(canvas: Canvas, plans: Sequence[Plan]) -> list[Plan]:
    """Conditions read in as many chunks as the longest needs, so that they can be interpolated."""
    longest = max(plan.condition.hidden.shape[1] for plan in plans)
    return [plan if plan.condition.hidden.shape[1] == longest else _longer(canvas, plan, longest) for plan in plans]


def _longer(canvas: Canvas, plan: Plan, length: int) -> Plan:
    chunks = length // (plan.condition.hidden.shape[1] // canvas.bundle.chunks_for(plan.prompt))
    condition = canvas.engine.encode([plan.prompt], chunks)
    negative = None if plan.negative is None else canvas.engine.encode([canvas.request.negative_prompt], chunks)
    return replace(plan, condition=condition, negative=negative)

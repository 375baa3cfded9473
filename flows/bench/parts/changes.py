"""What changes a picture: edits, animation, image to image, inpainting on the champion; inversion on its teacher."""

from collections.abc import Callable

from components.errors import RequestError
from components.image import promptset
from components.image.evaluation import modes
from components.image.evaluation.modes import Found, Subject
from components.image.generation.latent import pictures
from components.image.promptset import PromptItem, with_trigger
from components.settings import settings
from flows.bench.modes import ModesBench, Part

ANIMATIONS = 16
"""A case is eight pictures."""


def edit(bench: ModesBench) -> Part:
    """`edit.changed`, `edit.kept`, `edit.soundness_ratio`."""
    return _measured(bench, "edit", modes.edits)


def animation(bench: ModesBench) -> Part:
    """`animation.even`, `animation.kept`, `animation.reached`, `animation.soundness_ratio`."""
    return _measured(bench, "animation", modes.animations, ANIMATIONS)


def img2img(bench: ModesBench) -> Part:
    """`img2img.kept`, `img2img.reached`, `inpaint.outside_equal`, `img2img.soundness_ratio`."""
    return _measured(bench, "img2img", modes.redrawn)


def invert(bench: ModesBench) -> Part:
    """`invert.psnr_gap` of pictures that the student drew, walked back by its teacher."""
    items = _items(bench, bench.count)
    prompts = [with_trigger(item.prompt, bench.promoted.card.trigger) for item in items]
    card, bundle = bench.promoted.card, bench.generator.bundle
    drawn = pictures(
        bundle, prompts, [item.seed for item in items], steps=card.steps, guidance=card.guidance,
        kind="lcm" if bundle.lcm else "dpmpp_2m", batch_size=8, size=(card.model.resolution,) * 2,
    )  # fmt: skip
    found = modes.inversion(bench.teacher, drawn, prompts, resamples=bench.recipe.evaluate.bootstrap)
    return Part(found.metrics, {"invert": found.sheet})


def _measured(bench: ModesBench, title: str, measure: Callable[[Subject], Found], most: int | None = None) -> Part:
    if bench.judge is None:
        raise RequestError(f"recipe {bench.recipe.name!r} has no judge.", hint="Name one that has.")
    items = _items(bench, min(bench.count, most or bench.count))
    found = measure(
        Subject(bench.generator, bench.judge, bench.style, items, bench.log, bench.recipe.evaluate.bootstrap)
    )
    return Part(found.metrics, {title: found.sheet})


def _items(bench: ModesBench, count: int) -> tuple[PromptItem, ...]:
    """Unseen prompts. Raises RequestError, DataError."""
    if not bench.recipe.prompts:
        raise RequestError(f"recipe {bench.recipe.name!r} has no prompt sets.", hint="Name one that has.")
    return promptset.load(settings().resolve(bench.recipe.prompts), "report", count)

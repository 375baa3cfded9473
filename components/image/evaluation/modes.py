"""What edits, inversion, animation, image to image and inpainting do to pictures of unseen prompts.

Each function draws its cases with a loaded model as a user would ask it, and gives metrics (with intervals over cases
and the worst beside each mean) and a sheet of inputs beside outputs.
"""

import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from components import statistics
from components.contracts import Judge, RunLog
from components.errors import DataError
from components.image.evaluation.metrics import Metrics
from components.image.families.bundle import Bundle
from components.image.generation.changes import changed
from components.image.generation.inversion import invert, redraw
from components.image.generation.keyframes import distance
from components.image.generation.latent import last, to_images
from components.image.generation.latent_editor import to_pixels
from components.image.generation.modes import parse
from components.image.generation.pictures import picture_of
from components.image.generator import ImageGenerator
from components.image.promptset import PromptItem
from components.image.sheets import sheet
from components.prompting.vocabulary import Vocabulary
from components.statistics import Bootstrap, Floats

EDITED = ("expression", "hair_color", "clothes_color", "background")
"""Attributes that edits change, where the vocabulary has them; without any of these all that it has."""
EMOTIONS = "expression"
FRAMES = 8
SHOWN = 8
"""Rows of a sheet."""
KEPT_STRENGTH, REACHED_STRENGTH = 0.3, 0.9
_BATCH = 8


@dataclass(frozen=True)
class Subject:
    """The model that is measured, who judges, in which of the judge's styles, and the prompts."""

    generator: ImageGenerator
    judge: Judge
    style: str
    items: Sequence[PromptItem]
    log: RunLog
    resamples: int = 1000

    @property
    def vocabulary(self) -> Vocabulary:
        """What can be changed. Raises DataError where the model has no words of its own."""
        if self.generator.reader is None or not self.generator.reader.vocabulary.attributes:
            raise DataError("edits are measured by attributes: the model has no vocabulary.", hint="Name a reader.")
        return self.generator.reader.vocabulary

    def draw(self, **asked: Any) -> Image.Image:
        """One answer as a picture."""
        with Image.open(io.BytesIO(self.generator.answer(parse(asked)).content)) as image:
            return image.convert("RGB")

    def hits(self, images: Sequence[Image.Image], asked: Sequence[Mapping[str, str]]) -> dict[str, Floats]:
        """Aspect -> hits [N]; NaN where it is not asked or the style cannot show it."""
        return dict(self.judge.hits(self.judge.look(list(images)), asked, *([self.style] if self.style else [])))

    def bootstrap(self, count: int) -> Bootstrap:
        """Intervals over cases."""
        return Bootstrap(count, self.resamples)

    def counted(self) -> Iterator[tuple[int, PromptItem]]:
        """The prompts, told one by one."""
        for at, item in enumerate(self.items):
            yield at, item
            self.log.progress(at + 1, len(self.items), unit="case")


@dataclass(frozen=True)
class Found:
    """What a mode did."""

    metrics: Metrics
    sheet: Image.Image


def edits(subject: Subject) -> Found:
    """`edit.changed`: the new value is there; `edit.kept`: of what was there before, what is there still.

    Cases whose picture shows every other value already, or whose style shows none, are left out.
    """
    names = [name for name in EDITED if name in subject.vocabulary.attributes] or [*subject.vocabulary.attributes]
    asked, befores, afters, texts = [], [], [], []
    for at, item in subject.counted():
        before = subject.draw(prompt=item.prompt, seed=item.seed)
        change = _new_value(subject, before, item, names[at % len(names) :] + names[: at % len(names)])
        if change:
            image = picture_of(_png(before))
            afters.append(subject.draw(mode="edit", prompt=item.prompt, seed=item.seed, image=image, change=change))
            befores.append(before)
            asked.append((item, change))
            texts.append(changed(item.prompt, change, subject.vocabulary).prompt)
    metrics, bootstrap = Metrics(), subject.bootstrap(len(asked))
    if not asked:
        raise DataError("no picture can be edited: the judge sees none of what could change.")
    reached = subject.hits(afters, [change for _, change in asked])
    others = [{name: value for name, value in item.attributes.items() if name not in change} for item, change in asked]
    _put(metrics, "edit.changed", reached, bootstrap)
    _put(metrics, "edit.kept", _still(subject.hits(befores, others), subject.hits(afters, others)), bootstrap)
    _soundness(metrics, "edit", subject, befores, afters, texts)
    labels = [", ".join(f"{name}: {value}" for name, value in change.items()) for _, change in asked]
    return Found(metrics, sheet([*zip(befores, afters, strict=True)][:SHOWN], ["before", "after"], labels[:SHOWN]))


def animations(subject: Subject) -> Found:
    """`animation.even`, `.kept`, `.reached` of ways between two emotions; the worst case beside the mean of `even`."""
    values = subject.vocabulary.attributes.get(EMOTIONS, ())
    if len(values) < 2:
        raise DataError(f"animations go from one {EMOTIONS} to another: the vocabulary has none.")
    rows, even, ends, kept = [], [], [], []
    for at, item in subject.counted():
        first, second = values[at % len(values)], values[(at + 1) % len(values)]
        prompt = changed(item.prompt, {EMOTIONS: first}, subject.vocabulary).prompt
        frames = _frames(subject, prompt, item.seed, {EMOTIONS: second})
        rows.append(frames)
        even.append(_evenness(frames))
        shown = subject.hits([frames[0], frames[-1]], [{EMOTIONS: first}, {EMOTIONS: second}])
        ends.append(statistics.mean(shown[EMOTIONS]))
        kept.append(_kept_share(subject, frames, item))
    metrics, bootstrap = Metrics(), subject.bootstrap(len(rows))
    for name, found in (("even", even), ("reached", ends), ("kept", kept)):
        metrics.put(f"animation.{name}", bootstrap.mean(np.array(found)))
    metrics.put("animation.even.worst", float(np.nanmax(even)))
    metrics.put("animation.kept.worst", float(np.nanmin(kept)) if not np.isnan(kept).all() else float("nan"))
    metrics.put("animation.reached.worst", float(np.nanmin(ends)) if not np.isnan(ends).all() else float("nan"))
    middle = [frames[len(frames) // 2] for frames in rows]
    texts = [item.prompt for item in subject.items]
    _soundness(metrics, "animation", subject, [frames[0] for frames in rows], middle, texts)
    return Found(metrics, sheet(rows[:SHOWN], labels=texts[:SHOWN]))


def redrawn(subject: Subject) -> Found:
    """`img2img.kept` at strength 0.3, `img2img.reached` at 0.9 under the next prompt, `inpaint.outside_equal`."""
    rows, equal = [], []
    following = [*subject.items[1:], subject.items[0]]
    for at, item in subject.counted():
        before = subject.draw(prompt=item.prompt, seed=item.seed)
        given = {"image": picture_of(_png(before)), "seed": item.seed + 1}
        near = subject.draw(mode="image_to_image", prompt=item.prompt, strength=KEPT_STRENGTH, **given)
        far = subject.draw(mode="image_to_image", prompt=following[at].prompt, strength=REACHED_STRENGTH, **given)
        box = _box(before, at)
        inside = subject.draw(mode="inpaint", prompt=following[at].prompt, box=box, **given)
        equal.append(_equal_outside(before, inside, box))
        rows.append([before, near, far, inside])
    befores, nears, fars, _ = zip(*rows, strict=True)
    own, new = [item.attributes for item in subject.items], [item.attributes for item in following]
    metrics, bootstrap = Metrics(), subject.bootstrap(len(rows))
    _put(metrics, "img2img.kept", _still(subject.hits(befores, own), subject.hits(nears, own)), bootstrap)
    _put(metrics, "img2img.reached", subject.hits(fars, new), bootstrap)
    metrics.put("inpaint.outside_equal", bootstrap.mean(np.array(equal)))
    metrics.put("inpaint.outside_equal.worst", min(equal))
    _soundness(metrics, "img2img", subject, befores, fars, [item.prompt for item in following])
    columns = ["before", f"strength {KEPT_STRENGTH}", f"strength {REACHED_STRENGTH}", "inpaint"]
    return Found(metrics, sheet(rows[:SHOWN], columns, [item.prompt for item in following][:SHOWN]))


def inversion(
    bundle: Bundle, pictures: Sequence[Image.Image], prompts: Sequence[str], *, steps: int = 50, resamples: int = 1000
) -> Found:
    """`invert.psnr_gap`, dB: PSNR of the autoencoder's round trip less that of inverting and drawing again.

    Args:
        bundle: a model in all its steps, not a student.
        pictures: of one drawable size, with what they show.
    """
    gaps: list[float] = []
    rows: list[Sequence[Image.Image]] = []
    for start in range(0, len(pictures), _BATCH):
        true = to_pixels(pictures[start : start + _BATCH]) / 2 + 0.5
        clean = bundle.encode_images(2 * true - 1)
        condition = bundle.encode_prompts(list(prompts[start : start + _BATCH]))
        *_, (_, found) = invert(bundle, clean, condition, steps=steps)
        own = bundle.decode_latents(clean).cpu()
        again = bundle.decode_latents(last(redraw(bundle, found, condition))).cpu()
        gaps += [psnr(each, known) - psnr(back, known) for each, back, known in zip(own, again, true, strict=True)]
        rows += zip(pictures[start : start + _BATCH], to_images(own), to_images(again), strict=True)
    metrics = Metrics()
    metrics.put("invert.psnr_gap", Bootstrap(len(gaps), resamples).mean(np.array(gaps)))
    metrics.put("invert.psnr_gap.worst", max(gaps))
    return Found(metrics, sheet(rows[:SHOWN], ["picture", "autoencoder", "inverted"]))


def psnr(found: Any, true: Any) -> float:
    """Peak signal to noise ratio of pixels in [0, 1], dB."""
    error = float(((np.asarray(found, np.float64) - np.asarray(true, np.float64)) ** 2).mean())
    return -10 * float(np.log10(max(error, 1e-12)))


def _new_value(subject: Subject, before: Image.Image, item: PromptItem, names: Sequence[str]) -> dict[str, str]:
    """The first of the attributes that the style shows, with a value that the picture does not show; empty: none."""
    for name in names:
        values = subject.vocabulary.attributes[name]
        start = item.seed % len(values)
        for value in (*values[start:], *values[:start]):
            hit = subject.hits([before], [{name: value}])[name][0]
            if hit == 0 and value != item.attributes.get(name):
                return {name: value}
    return {}


def _frames(subject: Subject, prompt: str, seed: int, change: Mapping[str, str]) -> list[Image.Image]:
    keys = [{"change": dict(change)}]
    strip = subject.draw(mode="interpolate", prompt=prompt, seed=seed, keys=keys, frames=FRAMES)
    side = strip.width // FRAMES
    return [strip.crop((at * side, 0, (at + 1) * side, strip.height)) for at in range(FRAMES)]


def _evenness(frames: Sequence[Image.Image]) -> float:
    """Largest over median distance of neighbouring frames; NaN where nothing moves."""
    found = [distance(*pair) for pair in itertools.pairwise(frames)]
    middle = float(np.median(found))
    return max(found) / middle if middle > 0 else float("nan")


def _kept_share(subject: Subject, frames: Sequence[Image.Image], item: PromptItem) -> float:
    """Of what the first frame shows, the emotion apart, the share that the others show; NaN where it shows nothing."""
    others = {name: value for name, value in item.attributes.items() if name != EMOTIONS}
    hits = subject.hits(frames, [others] * len(frames))
    seen = [rows[1:].mean() for name, rows in hits.items() if name in others and rows[0] == 1]
    return float(np.mean(seen)) if seen else float("nan")


def _still(before: Mapping[str, Floats], after: Mapping[str, Floats]) -> dict[str, Floats]:
    """Hits after, where there were hits before."""
    return {name: np.where(rows == 1, after[name], np.nan) for name, rows in before.items()}


def _put(metrics: Metrics, name: str, hits: Mapping[str, Floats], bootstrap: Bootstrap) -> None:
    """The mean over pictures of their share of hits, and the weakest aspect."""
    shares = {aspect: statistics.mean(rows) for aspect, rows in hits.items() if not np.isnan(rows).all()}
    if not shares:
        return
    metrics.put(name, bootstrap.mean(statistics.adherence_of(hits)))
    worst = min(shares, key=lambda aspect: shares[aspect])
    metrics.put(f"{name}.worst", bootstrap.mean(hits[worst]))
    metrics.values[f"{name}.worst.name"] = worst


def _soundness(
    metrics: Metrics,
    name: str,
    subject: Subject,
    before: Sequence[Image.Image],
    after: Sequence[Image.Image],
    texts: Sequence[str],
) -> None:
    """`<name>.soundness_ratio`: of what the mode made over what it was made from, where the judge says how sound."""
    scores = []
    for images in (before, after):
        verdict = subject.judge.look(list(images))
        scores.append(subject.judge.scores(verdict, list(texts)[: len(images)], verdict.features[:0]).get("soundness"))
    if scores[0] is not None and scores[1] is not None:
        metrics.put(f"{name}.soundness_ratio", subject.bootstrap(len(after)).ratio(scores[1], scores[0]))


def _box(image: Image.Image, turn: int) -> list[int]:
    """A quarter of the picture, each corner in turn."""
    width, height = image.width // 2, image.height // 2
    left, top = width * (turn % 2), height * (turn // 2 % 2)
    return [left, top, left + width, top + height]


def _equal_outside(before: Image.Image, after: Image.Image, box: Sequence[int]) -> float:
    """Share of the pixels outside of the box that are the same to the bit."""
    equal = (np.asarray(before) == np.asarray(after)).all(axis=-1)
    outside = np.ones_like(equal)
    outside[box[1] : box[3], box[0] : box[2]] = False
    return float(equal[outside].mean())


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

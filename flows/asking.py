"""From free text to a picture: the prompt is read, and how sure we are decides what is drawn.

sure        one picture
in between  the best of a few, by the judge that the confidence was learnt from
unsure      where words are in doubt: nothing; the nearest readings are offered instead of a guess
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.contracts import Done
from components.errors import RequestError
from components.image.generation.request import MAX_SEED, GenerateRequest
from components.image.generator import ImageGenerator
from components.image.reading import read, worded
from components.portraits.judge import Judge
from components.portraits.reader.plugin import READER
from components.portraits.vocabulary import words
from components.prompting.confidence import Calibration, read_calibration
from components.prompting.rendering import rendered
from components.prompting.schema import Reading, RobustPrompt
from components.prompting.setup import make_generator
from components.settings import settings

DOUBT = 0.9
"""A reading below this probability is in doubt."""

OFFERED = 3


@dataclass(frozen=True)
class Drawing:
    """A picture, and the prompt it was drawn from (None: as typed)."""

    done: Done
    prompt: RobustPrompt | None


def draw(folder: Path, request: GenerateRequest, *, strict: bool = False) -> Drawing:
    """Read the prompt of `request` and draw it with the model in `folder`.

    Raises:
        RequestError: words are in doubt; the message offers the nearest readings (below the lower threshold always,
            below the upper one with `strict`).
    """
    calibration, here = read_calibration(folder), settings()
    prompt = read(request, make_generator(READER, calibration))
    if prompt is None:
        return Drawing(ImageGenerator.load(folder).draw(request), None)
    if prompt.confidence < (here.prompts_sure if strict else here.prompts_unsure) and (others := offers(prompt)):
        raise RequestError(
            f"the request {request.prompt!r} can be read in several ways (confidence {prompt.confidence:.2f}).",
            hint="Did you mean one of these?\n" + "\n".join(f"  {other}" for other in others),
        )
    model = ImageGenerator.load(folder)
    asked = worded(request, prompt, model.promoted.card.trigger, model.bundle.count_tokens)
    judge = _judge_folder(calibration)
    if prompt.confidence >= here.prompts_sure or here.prompts_best_of == 1 or judge is None:
        return Drawing(model.draw(asked), prompt)
    return Drawing(_best(model.draw, asked, here.prompts_best_of, Judge.load(judge), prompt), prompt)


def _judge_folder(calibration: Calibration | None) -> Path | None:
    """Where the judge is that the confidence was learnt from; None where it is not on this machine."""
    if calibration is None or not calibration.judge:
        return None
    folder = settings().resolve(calibration.judge)
    return folder if folder.is_dir() else None


def offers(prompt: RobustPrompt) -> list[str]:
    """The nearest readings, likeliest first: each doubtful attribute with its other values; empty without doubt."""
    doubtful = sorted(
        (reading for reading in prompt.draft.attributes if reading.probability < DOUBT and reading.alternatives),
        key=lambda reading: reading.probability,
    )
    if not doubtful:
        return []
    first = doubtful[0]
    values = [first.value, *first.alternatives][:OFFERED]
    return [_worded(prompt, first, value) for value in values]


def _worded(prompt: RobustPrompt, changed: Reading, value: str) -> str:
    """The whole request in plain words, with one attribute as `value`."""
    language = prompt.draft.language
    asked = {**prompt.draft.asked, changed.attribute: value}
    tags = [words(name, chosen, language)[0] for name, chosen in asked.items()]
    return ("、" if language == "ja" else ", ").join([*tags, *prompt.draft.extra])


def _best(
    draw_one: Callable[[GenerateRequest], Done],
    request: GenerateRequest,
    count: int,
    judge: Judge,
    prompt: RobustPrompt,
) -> Done:
    """Of `count` pictures at neighbouring seeds the one that shows most of what was asked; the first of equals."""
    asked = prompt.draft.asked
    start = request.seed
    made: Sequence[Done] = [
        draw_one(request if start is None else request.model_copy(update={"seed": (start + step) % (MAX_SEED + 1)}))
        for step in range(count)
    ]
    verdict = judge.look([done.image for done in made])
    shown = [sum(str(verdict.attributes[name][row]) == value for name, value in asked.items()) for row in range(count)]
    return made[shown.index(max(shown))]


def describe(prompt: RobustPrompt) -> list[str]:
    """Layers, corrections and confidence in lines for a terminal."""
    draft = prompt.draft
    lines = [f"prompt      {rendered(prompt)}"]
    for reading in draft.attributes:
        doubt = f"  or {', '.join(reading.alternatives)}" if reading.alternatives else ""
        lines.append(f"  {reading.attribute:<14}{reading.value:<9}{reading.probability:.2f}  {reading.said!r}{doubt}")
    for name in ("subject", "extra", "quality", "negative", "unread"):
        value = getattr(draft, name)
        if value:
            lines.append(f"{name:<12}{value if isinstance(value, str) else ', '.join(value)}")
    lines += [f"corrected   {item.said!r} -> {item.meant!r} ({item.why})" for item in draft.corrections]
    origin = prompt.provenance
    told = [origin.client, origin.model, *(["from the cache"] if origin.cached else [])]
    told += ["asked twice"] if origin.repaired else []
    lines.append(f"read by     {', '.join(dict.fromkeys(told))}")
    if origin.fallback:
        lines.append(f"because     {origin.fallback}")
    return [*lines, f"confidence  {prompt.confidence:.2f}"]

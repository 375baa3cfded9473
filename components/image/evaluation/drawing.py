"""The pictures that metrics are taken from: every variant at equal prompts and seeds, each drawn once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from components.artifact import replacing
from components.contracts import RunLog
from components.image.families.bundle import Bundle, free
from components.image.generation.latent import Kind, load_variant, pictures
from components.image.promptset import PromptItem, with_style, with_trigger
from components.image.recipe import EvaluateConfig

BASE, LORA = "base", "lora"
NO_LORA, HALF_LORA = "lora-scale-0", "lora-scale-0.5"
XY_PROMPTS = 6


@dataclass(frozen=True)
class Variant:
    """One column of the comparison. `guidance` None: as distilled."""

    name: str
    label: str
    steps: int
    guidance: float | None
    kind: Kind
    count: int


def lcm_name(steps: int) -> str:
    """Name of the student at that many steps, as in the metrics' keys."""
    return f"lcm{steps}"


def variants(config: EvaluateConfig, *, distilled: bool = True) -> list[Variant]:
    """Base, LoRA, and the student at each of its step counts where there is one."""
    steps, scale, count = config.teacher_steps, config.guidance, config.count
    listed = [
        Variant(BASE, f"base {steps}", steps, scale, "ddim", count),
        Variant(LORA, f"LoRA {steps}", steps, scale, "ddim", count),
    ]
    for steps in config.lcm_steps if distilled else ():
        count = config.count if steps == config.main_steps else config.other_count
        listed.append(Variant(lcm_name(steps), f"LCM {steps}", steps, None, "lcm", count))
    return listed


@dataclass
class Album:
    """Pictures by variant and place, kept in a folder as they are drawn, so that an interrupted evaluation goes on."""

    folder: Path
    batch_size: int
    side: int
    tell: Callable[[int], None]

    def path(self, name: str, index: int) -> Path:
        """Where picture `index` of a variant lies."""
        return self.folder / name / f"{index:05}.png"

    def load(self, name: str, count: int) -> list[Image.Image]:
        """The first `count` pictures of a variant."""
        return [Image.open(self.path(name, index)).convert("RGB") for index in range(count)]

    def draw(self, bundle: Bundle, variant: Variant, name: str, prompts: Sequence[str], seeds: Sequence[int]) -> None:
        """Draw what is missing of `prompts`, a batch at a time."""
        missing = [index for index in range(len(prompts)) if not self.path(name, index).is_file()]
        self.tell(len(prompts) - len(missing))
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        for batch in _chunks(missing, self.batch_size):
            drawn = pictures(
                bundle,
                [prompts[index] for index in batch],
                [seeds[index] for index in batch],
                steps=variant.steps,
                guidance=variant.guidance,
                kind=variant.kind,
                batch_size=self.batch_size,
                size=(self.side, self.side),
            )
            for index, picture in zip(batch, drawn, strict=True):
                self._keep(picture, self.path(name, index))
            self.tell(len(batch))

    @staticmethod
    def _keep(picture: Image.Image, path: Path) -> None:
        with replacing(path) as temporary:
            picture.save(temporary, "PNG", compress_level=1)


def draw_all(
    config: EvaluateConfig,
    columns: Sequence[Variant],
    items: Sequence[PromptItem],
    lora: Path,
    lcm: Path | None,
    folder: Path,
    log: RunLog,
    more: Mapping[str, Sequence[PromptItem]] | None = None,
) -> dict[str, list[Image.Image]]:
    """Pictures by variant name; besides the variants, the LoRA at scales 0 and 0.5 for the XY grid.

    Args:
        more: further prompts by a name of their own, drawn by the variant that is served.
        columns: the variants.
        items: prompts of the report set; a variant takes its first `count`.
        lora, lcm: anime-lora-final and lcm_distilled_model, where there is one.
        folder: where pictures are kept.
    """
    wanted = {column.name: column.count for column in columns}
    wanted |= dict.fromkeys((NO_LORA, HALF_LORA), min(XY_PROMPTS, config.count))
    wanted |= {name: len(asked) for name, asked in (more or {}).items()}
    album = Album(folder, config.batch_size, config.model.resolution, _counter(sum(wanted.values()), log))
    seeds = [item.seed for item in items]
    extra = [
        (name, [with_trigger(item.prompt, config.trigger) for item in asked], [item.seed for item in asked])
        for name, asked in (more or {}).items()
    ]
    called = [with_trigger(item.prompt, config.trigger) for item in items]
    words = config.judge.base_styles if config.judge else ()
    plain = [
        with_style(item.prompt, words[place % len(words)]) if words else item.prompt for place, item in enumerate(items)
    ]
    base, teacher, *students = columns

    def draw(*sets: tuple[Variant, str, Sequence[str]], served: Variant | None = None, **parts: Any) -> None:
        """Load a model, draw with it and free it before the next is loaded."""
        bundle = load_variant(config.model, **parts)
        for variant, name, prompts in sets:
            album.draw(bundle, variant, name, prompts[: wanted[name]], seeds)
        if served is not None:
            for name, prompts, own_seeds in extra:
                album.draw(bundle, served, name, prompts, own_seeds)
        del bundle
        free()

    draw((base, BASE, plain), (teacher, NO_LORA, called))
    draw((teacher, LORA, called), lora=lora, served=None if students else teacher)
    draw((teacher, HALF_LORA, called), lora=lora, lora_scale=0.5)
    if students:
        main = next(student for student in students if student.name == lcm_name(config.main_steps))
        draw(*((student, student.name, called) for student in students), lora=lora, lcm=lcm, served=main)
    return {name: album.load(name, count) for name, count in wanted.items()}


def _counter(total: int, log: RunLog) -> Callable[[int], None]:
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        log.progress(done, total, unit="picture")

    return tell


def _chunks(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (items[start : start + size] for start in range(0, len(items), size))

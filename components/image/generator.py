"""From a request to its picture: the prompt is read, and how sure that is decides what is drawn.

sure        one picture
in between  the best of a few, by the judge that the confidence was learnt from
unsure      where words are in doubt: nothing; the nearest readings are offered instead of a guess
"""

import io
import secrets
import time
import zipfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from components.contracts import Done, Judge, Preview
from components.errors import RequestError
from components.image.families.bundle import Bundle
from components.image.generation.canvas import Canvas, Drawn
from components.image.generation.control.shelf import shelf
from components.image.generation.engine import Engine, build_engine
from components.image.generation.fused import Fused
from components.image.generation.latent import load_variant
from components.image.generation.loras import PlainEngine, known, without_tags
from components.image.generation.metadata import to_png
from components.image.generation.modes import MODES
from components.image.generation.request import MAX_SEED, GenerateRequest
from components.image.generation.slots import Slots
from components.image.judging import open_judge
from components.image.product import LCM, LORA, PromotedModel, read_model
from components.image.reading import offers, read, told, worded
from components.plugins import plugin
from components.prompting.confidence import read_calibration
from components.prompting.generator import RobustPromptGenerator
from components.prompting.schema import RobustPrompt
from components.prompting.setup import make_generator
from components.prompting.vocabulary import EMPTY
from components.settings import settings


class ImageGenerator:
    """A loaded model behind an engine. Several threads may generate at once; the engine takes one step at a time.

    Args:
        reader: who reads prompts; None: they reach the model as typed.
        max_error: as `load`'s, of an engine with LoRAs in its weights.
    """

    def __init__(
        self,
        bundle: Bundle,
        promoted: PromotedModel,
        engine: Engine,
        reader: RobustPromptGenerator | None = None,
        max_error: float = 0.05,
    ) -> None:
        self.bundle, self.promoted, self.reader = bundle, promoted, reader
        self.plain, self.slots = PlainEngine.of(bundle, engine.parallel), Slots(bundle)
        self.engine = self.plain if engine.kind == "eager" else engine
        self.fused = None if engine.reweigh is None else self._fusing(max_error)

    @classmethod
    def load(
        cls,
        folder: Path,
        engine: str = "auto",
        precision: str = "auto",
        max_error: float = 0.05,
        *,
        parallel: int | None = None,
        verify: bool = True,
    ) -> "ImageGenerator":
        """A promoted model's folder, loaded, fused, compiled and warm. The rest is `build_engine`'s.

        Raises:
            ModelError, ArtifactError: the folder is not a sound promoted model.
        """
        promoted = read_model(folder, verify=verify)
        card = promoted.card
        lcm = None if card.mode == "none" else promoted.folder / LCM
        bundle = load_variant(promoted.base, lora=promoted.folder / LORA, lcm=lcm)
        side = card.model.resolution
        built = build_engine(
            bundle,
            engine,
            precision,
            max_error=max_error,
            cache_dir=settings().state / "cache" / "engine",
            size=(side, side),
            prompt=card.trigger,
            steps=card.steps,
            parallel=parallel,
        )
        reader = None if card.reader is None else plugin("reader", card.reader)
        return cls(bundle, promoted, built, make_generator(reader, read_calibration(folder)), max_error)

    @cached_property
    def card(self) -> Mapping[str, Any]:
        """What `GET /model` shows: the promoted model's card, digest, engine, words, and what was measured for it."""
        return {
            **self.promoted.card.model_dump(mode="json"),
            "digest": self.promoted.digest,
            "engine": self.engine.name,
            "vocabulary": {} if self.reader is None else self.reader.vocabulary.as_json(),
            "metrics": self.promoted.metrics,
        }

    @cached_property
    def judge(self) -> Judge | None:
        """Who chooses among several pictures; None: nobody can."""
        config = self.promoted.card.judge
        folder = self.promoted.folder / (config.folder or "") if config else None
        return None if config is None or folder is None else open_judge(config, {"judge": folder})

    @property
    def parallel(self) -> int:
        """How many threads may run requests at once to advantage; their steps share batches."""
        return self.engine.parallel

    @property
    def counters(self) -> Mapping[str, int]:
        """What has happened since loading, for metrics: only growing."""
        engines = (self.engine,) if self.engine is self.plain else (self.engine, self.plain)
        fused = self.fused
        return {
            "text_cache_hits": sum(engine.texts.hits for engine in engines),
            "text_cache_misses": sum(engine.texts.misses for engine in engines),
            "adapter_cache_hits": 0 if fused is None else fused.hits,
            "adapter_cache_misses": 0 if fused is None else fused.misses,
            "steps": sum(engine.steps.calls for engine in engines),
            "batches": sum(engine.steps.batches for engine in engines),
        }

    def _fusing(self, max_error: float) -> Fused:
        """Engines with LoRAs in their weights, as this model's own engine was measured."""
        card = self.promoted.card
        return Fused(
            self.engine, self.plain, prompt=card.trigger, steps=card.steps, max_error=max_error,
            kept=settings().adapters_kept,
        )  # fmt: skip

    def run(self, request: GenerateRequest, *, previews: bool = False) -> Iterator[Preview | Done]:
        """One Preview per step, then Done. Closing the iterator cancels; `previews`: with a picture each.

        Raises:
            RequestError: a value that this model cannot serve, or words that can be read in several ways; the message
                then offers the nearest readings.
        """
        started = time.perf_counter()
        request = without_tags(request)
        prompt = read(request, self.reader)
        self._refuse_doubt(request, prompt)
        asked = worded(request, prompt, self.promoted.card.trigger, self.bundle.count_tokens)
        tries = self._tries(request, prompt)
        with self.engine.steps.member():
            drawn = yield from self._several(asked, max(tries, request.n), previews)
        if tries > 1:
            drawn = [self._best(drawn, prompt)]
        found = {} if prompt is None else {"confidence": round(prompt.confidence, 4)}
        yield packed([replace(each, facts={**each.facts, **found}) for each in drawn], time.perf_counter() - started)

    def reading(self, prompt: str, negative: str = "") -> Mapping[str, Any]:
        """How a text is read; see `components.image.reading.told`."""
        request = GenerateRequest(prompt=prompt, negative_prompt=negative)
        found = read(without_tags(request), self.reader)
        asked = worded(request, found, self.promoted.card.trigger, self.bundle.count_tokens)
        return told(asked, found, EMPTY if self.reader is None else self.reader.vocabulary)

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Names that a request may use."""
        kinds = {each.kind for each in shelf(self.promoted.folder) if each.kind is not None}
        return {"loras": list(known()), "controls": sorted(kinds), **self.slots.names()}

    def answer(self, request: GenerateRequest) -> Done:
        """`run` without the events."""
        *_, last = self.run(request)
        assert isinstance(last, Done)
        return last

    def _refuse_doubt(self, request: GenerateRequest, prompt: RobustPrompt | None) -> None:
        here = settings()
        enough = here.prompts_sure if request.strict else here.prompts_unsure
        if prompt is None or self.reader is None or prompt.confidence >= enough:
            return
        if others := offers(prompt, self.reader.vocabulary):
            raise RequestError(
                f"the request {request.prompt!r} can be read in several ways (confidence {prompt.confidence:.2f}).",
                hint="Did you mean one of these?\n" + "\n".join(f"  {other}" for other in others),
            )

    def _tries(self, request: GenerateRequest, prompt: RobustPrompt | None) -> int:
        """Pictures of which the best is kept. A request that names its seed gets that very picture."""
        here = settings()
        if prompt is None or request.seed is not None or request.n > 1 or not request.best_of or self.judge is None:
            return 1
        return 1 if prompt.confidence >= here.prompts_sure else here.prompts_best_of

    def _several(
        self, request: GenerateRequest, count: int, previews: bool
    ) -> Generator[Preview, None, Sequence[Drawn]]:
        """`count` answers at neighbouring seeds."""
        start = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
        drawn: list[Drawn] = []
        for turn in range(count):
            seed = (start + turn) % (MAX_SEED + 1)
            for event in self._draw(request, seed, previews):
                if isinstance(event, Drawn):
                    drawn.append(event)
                else:
                    yield Preview(turn * event.total + event.done, count * event.total, event.content)
        return drawn

    def _best(self, drawn: Sequence[Drawn], prompt: RobustPrompt | None) -> Drawn:
        """The one that shows most of what was asked; the first of equals."""
        assert prompt is not None
        shown = self._shown(drawn, prompt.draft.asked)
        return drawn[shown.index(max(shown))]

    def _shown(self, drawn: Sequence[Drawn], asked: Mapping[str, str]) -> list[int]:
        assert self.judge is not None
        hits = self.judge.hits(self.judge.look([one.image for one in drawn]), [asked] * len(drawn))
        return [sum(int(values[row] == 1) for values in hits.values()) for row in range(len(drawn))]

    def _worded(self, request: GenerateRequest, text: str) -> str:
        """Another prompt of a request, read as its own."""
        other = GenerateRequest(prompt=text, raw=request.raw, strict=request.strict)
        prompt = read(other, self.reader)
        self._refuse_doubt(other, prompt)
        return worded(other, prompt, self.promoted.card.trigger, self.bundle.count_tokens).prompt

    def _draw(self, request: GenerateRequest, seed: int, previews: bool) -> Iterator[Preview | Drawn]:
        """One answer, by the mode of the request."""
        canvas = Canvas(
            self.promoted, self.bundle, self.engine, self.plain, self.slots, request, seed, previews, request.n,
            vocabulary=EMPTY if self.reader is None else self.reader.vocabulary, judges=lambda: self.judge,
            words=lambda text: self._worded(request, text), fused=self.fused,
        )  # fmt: skip
        yield from MODES[request.mode].draw(canvas, request)


def packed(drawn: Sequence[Drawn], seconds: float) -> Done:
    """One answer as it is; several as a ZIP of files named by their seeds, whose metadata are listed as `pictures`."""
    if len(drawn) == 1:
        return Done(_content(drawn[0]), drawn[0].media_type, drawn[0].facts, seconds)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for each in drawn:
            name = f"{each.facts['seed']}.{each.media_type.rpartition('/')[2]}"
            archive.writestr(zipfile.ZipInfo(name), _content(each))  # without a time: equal requests, equal bytes
    facts = {**drawn[0].facts, "pictures": [each.facts for each in drawn]}
    return Done(buffer.getvalue(), "application/zip", facts, seconds)


def _content(drawn: Drawn) -> bytes:
    return to_png(drawn.image, drawn.facts, drawn.pictures) if drawn.content is None else drawn.content

"""A student's prompts under test: what mistakes cost, what the generator wins back, how sure it may be of a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from components import statistics
from components.artifact import write_json
from components.contracts import CALIBRATION, Judge, RunLog
from components.image import promptset
from components.image.evaluation import plots
from components.image.evaluation.confidence import Outcome
from components.image.evaluation.metrics import Metrics
from components.image.evaluation.robustness import Artist, Condition, calibrate, conditions, metrics
from components.image.families.bundle import Bundle
from components.image.families.syntax import MAX_CHUNKS
from components.image.generation.latent import pictures
from components.image.promptset import PromptItem
from components.image.recipe import EvaluateConfig
from components.image.sheets import sheet
from components.prompting.confidence import Calibration
from components.prompting.generator import RobustPromptGenerator
from components.prompting.reader import KINDS, Reader
from components.prompting.rendering import CLIP_TOKENS, rendered
from components.prompting.schema import PromptRequest, RobustPrompt
from components.prompting.setup import make_generator

READ = ("clean_generator", *(f"rescued.{kind}" for kind in KINDS))
"""Conditions whose requests the generator read: what the confidence is measured on."""

COLUMNS = ("clean", *(f"{name}.{kind}" for kind in KINDS for name in ("attacked", "rescued")))
SHOWN = 6


@dataclass
class PromptBenchmark:
    """A student (`bundle`, adapters fused), who reads for it, who looks at its pictures, the folder of prompt sets,
    and where to write."""

    config: EvaluateConfig
    bundle: Bundle
    reader: Reader
    judge: Judge
    prompts: Path
    out: Path
    log: RunLog
    generator: RobustPromptGenerator = field(init=False)

    def __post_init__(self) -> None:
        generator = make_generator(self.reader, client=self.config.prompts_client)
        assert generator is not None  # for there is a reader
        self.generator = generator

    def calibrate(self, count: int) -> Calibration | None:
        """Learn the confidence from `count` pictures of the *calibrate* set and write it; None where nothing counts.

        More pictures than prompts: the prompts come again with other seeds and other mistakes.
        """
        if not (self.prompts / "calibrate.json").is_file():
            self.log.warn(f"{str(self.prompts)!r} has no calibrate.json: the confidence of prompts is not learnt")
            return None
        items = promptset.repeated(promptset.load(self.prompts, "calibrate"), count)
        self.log.message(f"learning the confidence of prompts from {len(items)} pictures")
        artist = self._artist(len(items))
        origin = {"judge": self.judge.digest, "client": self.config.prompts_client}
        found = calibrate(items, self.reader, self.write, self.render, artist.see, **origin)
        if found is None:
            self.log.warn("no prompt of the calibrate set asks for anything that counts: no confidence is learnt")
        else:
            write_json(self.out / CALIBRATION, found.model_dump(mode="json"))
        return found

    def measure(self, count: int, calibration: Calibration | None) -> Metrics:
        """All metrics on the first `count` prompts of the *report* set; a grid and a plot go to `plots/`."""
        items = promptset.load(self.prompts, "report")[:count]
        asked = conditions(items, self.reader, self.write, self.render)
        shown = items[:SHOWN]
        artist = self._artist(len(items) * len(asked), frozenset(item.seed for item in shown))
        seen = {name: artist.see(items, condition.texts) for name, condition in asked.items()}
        found = metrics(seen, self.config.bootstrap, self.config.seed)
        if calibration is not None:
            read = [name for name in READ if name in asked]
            outcomes = [row for name in read for row in seen[name].outcomes(items, asked[name].drafts)]
            _confidence(found, calibration, outcomes)
        self._grid(artist, shown, asked)
        plots.conditions(self.out / "plots" / "prompts.png", {name: found.values.get(name, 0.0) for name in COLUMNS})
        return found

    def write(self, text: str) -> RobustPrompt:
        """A request through the generator."""
        return self.generator.generate(PromptRequest(text=text))

    def render(self, prompt: RobustPrompt) -> str:
        """Within what is served, with room for the trigger."""
        trigger, limit = self.config.trigger, MAX_CHUNKS * CLIP_TOKENS
        return rendered(prompt, lambda text: self.bundle.count_tokens(promptset.with_trigger(text, trigger)), limit)

    def _artist(self, total: int, keep: frozenset[int] = frozenset()) -> Artist:
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            self.log.progress(done, total, unit="text")

        style = self.config.judge.style if self.config.judge else ""
        return Artist(self._draw, self.judge, style, progress, keep)

    def _draw(self, texts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        return pictures(
            self.bundle,
            [promptset.with_trigger(text, self.config.trigger) for text in texts],
            seeds,
            steps=self.config.main_steps,
            kind="lcm",
            batch_size=self.config.batch_size,
            size=(self.config.model.resolution,) * 2,
        )

    def _grid(self, artist: Artist, items: Sequence[PromptItem], asked: Mapping[str, Condition]) -> None:
        columns = [name for name in COLUMNS if name in asked]
        rows = [
            [artist.pictures[asked[name].texts[place], item.seed] for name in columns]
            for place, item in enumerate(items)
        ]
        path = self.out / "plots" / "prompts-grid.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = asked[columns[min(1, len(columns) - 1)]].texts[: len(items)]
        sheet(rows, columns, labels).save(path)


def _confidence(found: Metrics, calibration: Calibration, outcomes: Sequence[Outcome]) -> None:
    """How far the confidence is off, and how well it ranks."""
    confidence = np.array([calibration(outcome.draft) for outcome in outcomes])
    complete = np.array([float(outcome.complete) for outcome in outcomes])
    if len(complete):
        found.put("ece", statistics.calibration_error(confidence, complete))
        found.put("auroc", statistics.ranking(confidence, complete))
        found.put("complete", float(complete.mean()))

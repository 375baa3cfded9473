"""`kyara bench prompts`: what mistakes in prompts cost the champion, and how much the prompt generator wins back."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from components import metrics, promptset
from components.artifact import pointed, write_json
from components.errors import DataError, RequestError
from components.evaluation import plots
from components.evaluation.figures import Figures
from components.evaluation.robustness import Artist, Condition, Seen, conditions, figures, milliseconds, too_weak
from components.evaluation.sheets import sheet
from components.generation.image import ImageGenerator
from components.generation.request import GenerateRequest
from components.judge import Judge
from components.prompting.attack import KINDS
from components.prompting.cache import PromptCache
from components.prompting.confidence import Calibration, Outcome
from components.prompting.generator import RobustPromptGenerator
from components.prompting.lexicon import LexiconClient
from components.prompting.rendering import rendered
from components.prompting.schema import PromptRequest, RobustPrompt
from components.promptset import PromptItem
from components.recipe import ImageRecipe
from components.runlog import ConsoleLog
from components.settings import settings
from flows.stage import open_recipe

READ = ("clean_generator", *(f"rescued.{kind}" for kind in KINDS))
"""Conditions whose requests the generator read: what the confidence is learnt from and measured on."""

SHOWN = 6
TIMED = 200


def run(
    recipe_name: str, out: Path, *, modes: str = "current", overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Measure, write `out` (JSON), `<out>/calibration.json`, a picture grid and a plot beside it.

    Raises:
        DataError: an attack is too weak to prove anything (the figures are written all the same).
        ArtifactError: the recipe has no champion.
    """
    if modes != "current":
        raise RequestError(f"modes {modes!r} has no meaning here.", hint="Leave it out.")
    recipe = open_recipe(recipe_name, overrides)
    bench = Bench(recipe, out.with_suffix(""))
    found = bench.measure()
    write_json(out, found.values)
    if weak := too_weak(found):
        raise DataError(f"the attacks are too weak: {'; '.join(weak)}.", hint="Raise their rate.")
    return found.values


class Bench:
    """A champion, the judge, and the generator that reads for it."""

    def __init__(self, recipe: ImageRecipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder
        evaluation = recipe.evaluate
        if evaluation.judge is None or evaluation.prompts is None:
            hint = "Name evaluate.judge and evaluate.prompts."
            raise DataError(f"recipe {recipe.name!r} has no judge or no prompts.", hint=hint)
        self.model = ImageGenerator.load(pointed(settings().models_dir / "image" / recipe.name))
        self.judge = Judge.load(settings().resolve(evaluation.judge))
        self.prompts = settings().resolve(evaluation.prompts)
        self.lexicon = LexiconClient()
        self.generator = RobustPromptGenerator(self.lexicon)

    def measure(self) -> Figures:
        """All figures: adherence by condition, what was recovered, confidence, times."""
        items = promptset.load(self.prompts, "report")
        calibration = self._calibrate()
        asked = conditions(items, self._write, self._render)
        with ConsoleLog("prompts") as log:
            artist = self._artist(len(items) * len(asked), log)
            seen = {name: artist.see(items, condition.texts) for name, condition in asked.items()}
        found = figures(seen)
        self._confidence(found, calibration, items, asked, seen)
        found.put("lexicon.ms", milliseconds(self._write, [item.prompt for item in items[:TIMED]]))
        found.put("cache.hit_ms", self._cache_milliseconds([item.prompt for item in items[:TIMED]]))
        self._pictures(items, asked, found)
        return found

    def _calibrate(self) -> Calibration:
        """Learn the confidence on the *calibrate* set, clean and attacked in turn."""
        items = promptset.load(self.prompts, "calibrate")
        asked = conditions(items, self._write, self._render)
        with ConsoleLog("calibrate") as log:
            artist = self._artist(len(items) * len(READ), log)
            seen = {name: artist.see(items, asked[name].texts) for name in READ}
        calibration = Calibration.fit([outcome for name in READ for outcome in _outcomes(items, asked, seen, name)])
        write_json(self.folder / "calibration.json", calibration.model_dump(mode="json"))
        return calibration

    def _confidence(
        self,
        found: Figures,
        calibration: Calibration,
        items: Sequence[PromptItem],
        asked: Mapping[str, Condition],
        seen: Mapping[str, Seen],
    ) -> None:
        outcomes = [outcome for name in READ for outcome in _outcomes(items, asked, seen, name)]
        confidence = np.array([calibration(outcome.draft) for outcome in outcomes])
        complete = np.array([float(outcome.complete) for outcome in outcomes])
        found.put("ece", metrics.calibration_error(confidence, complete))
        found.put("auroc", metrics.ranking(confidence, complete))
        found.put("confidence.mean", float(confidence.mean()))
        found.put("complete", float(complete.mean()))

    def _write(self, text: str) -> RobustPrompt:
        return self.generator.generate(PromptRequest(text=text))

    def _render(self, prompt: RobustPrompt) -> str:
        return rendered(prompt, self.model.bundle.count_tokens)

    def _artist(self, total: int, log: ConsoleLog) -> Artist:
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            log.progress(done, total, unit="picture")

        return Artist(self._draw, lambda some: self.judge.look(some).attributes, self.recipe.evaluate.style, progress)

    def _draw(self, text: str, seed: int) -> Image.Image:
        return self.model.draw(GenerateRequest(prompt=text or self.recipe.trigger, seed=seed)).image

    def _cache_milliseconds(self, texts: Sequence[str]) -> float:
        with TemporaryDirectory() as folder, closing(PromptCache(Path(folder))) as cache:
            generator = RobustPromptGenerator(self.lexicon, cache=cache)

            def ask(text: str) -> RobustPrompt:
                return generator.generate(PromptRequest(text=text))

            milliseconds(ask, texts)
            return milliseconds(ask, texts)

    def _pictures(self, items: Sequence[PromptItem], asked: Mapping[str, Condition], found: Figures) -> None:
        """A grid (clean, then attacked and rescued by kind) and a plot of the adherences."""
        names = ["clean", *(f"{name}.{kind}" for kind in KINDS for name in ("attacked", "rescued"))]
        rows = [
            [self._draw(asked[name].texts[place], item.seed) for name in names]
            for place, item in enumerate(items[:SHOWN])
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        sheet(rows, names, [asked["attacked.typo"].texts[place] for place in range(SHOWN)]).save(
            self.folder / "rescued.png"
        )
        plots.conditions(self.folder / "adherence.png", {name: found.values[name] for name in names})


def _outcomes(
    items: Sequence[PromptItem], asked: Mapping[str, Condition], seen: Mapping[str, Seen], name: str
) -> list[Outcome]:
    return seen[name].outcomes(items, asked[name].drafts)

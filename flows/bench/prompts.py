"""`kyara bench prompts`: what mistakes in prompts cost the champion, how much the prompt generator wins back, and
whether it does harm."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from components.artifact import pointed, write_json
from components.errors import DataError, RequestError
from components.image import promptset
from components.image.evaluation.prompting import PromptBenchmark
from components.image.evaluation.robustness import too_weak
from components.image.generation.latent import load_variant
from components.image.judging import open_judge
from components.image.product import LCM, LORA, read_model
from components.image.recipe import EvaluateConfig
from components.plugins import plugin
from components.prompting.cache import PromptCache
from components.prompting.generator import RobustPromptGenerator
from components.prompting.reader import Reader
from components.prompting.rendering import rendered
from components.prompting.schema import PromptRequest, RobustPrompt
from components.runlog import ConsoleLog
from components.settings import settings
from flows.bench import harm, outside
from flows.stage import open_recipe

COUNT, TIMED = 512, 200


def run(
    recipe_name: str, out: Path, *, modes: str = "current", overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Measure on 512 prompts and write `out` (JSON); calibration, picture grid and plot go to the folder beside it.

    Raises:
        DataError: an attack is too weak to prove anything (the metrics are written all the same).
        ArtifactError: the recipe has no champion.
    """
    if modes != "current":
        raise RequestError(f"modes {modes!r} has no meaning here.", hint="Leave it out.")
    recipe = open_recipe(recipe_name, overrides)
    config = recipe.step("evaluate")
    if not isinstance(config, EvaluateConfig) or config.judge is None or config.reader is None or not config.prompts:
        hint = "Name judge, prompts and reader."
        raise DataError(f"recipe {recipe.name!r} has no judge, no prompts or no reader.", hint=hint)
    model = read_model(pointed(settings().models_dir / recipe.modality / recipe.name))
    bundle = load_variant(model.base, lora=model.folder / LORA, lcm=model.folder / LCM)
    folders = {name: settings().resolve(path) for name, path in config.sources().items()}
    judge, prompts, reader = open_judge(config.judge, folders), folders["prompts"], plugin("reader", config.reader)
    with ConsoleLog("prompts") as log:
        benchmark = PromptBenchmark(config, bundle, reader, judge, prompts, out.with_suffix(""), log)
        found = benchmark.measure(COUNT, benchmark.calibrate(config.calibrate_count))
        found.values |= harm.metrics(harm.harm(harm.OpenList.load(), benchmark.write, rendered)).values
        found.values |= outside.metrics(promptset.load(prompts, "report", COUNT), reader, benchmark.write, log).values
    texts = [item.prompt for item in promptset.load(prompts, "report", TIMED)]
    found.put("lexicon.ms", _milliseconds(benchmark.write, texts))
    found.put("cache.hit_ms", _hit_milliseconds(reader, texts))
    metrics = {"recipe": recipe.name, "model": model.digest, "judge": judge.digest, **found.values}
    write_json(out, metrics)
    if weak := too_weak(found):
        raise DataError(f"the attacks are too weak: {'; '.join(weak)}.", hint="Raise their rate.")
    return metrics


def _milliseconds(call: Callable[[str], object], texts: Sequence[str]) -> float:
    """Median time of a call."""
    durations = []
    for text in texts:
        started = time.perf_counter()
        call(text)
        durations.append(time.perf_counter() - started)
    return 1000.0 * median(durations)


def _hit_milliseconds(reader: Reader, texts: Sequence[str]) -> float:
    """Median time of a request whose answer the cache holds."""
    with TemporaryDirectory() as folder, closing(PromptCache(Path(folder))) as cache:
        generator = RobustPromptGenerator(reader.offline(), cache=cache, vocabulary=reader.vocabulary)

        def ask(text: str) -> RobustPrompt:
            return generator.generate(PromptRequest(text=text))

        _milliseconds(ask, texts)
        return _milliseconds(ask, texts)

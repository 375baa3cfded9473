"""The evaluate stage: base, LoRA and student side by side, at equal prompts and seeds."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components import statistics
from components.artifact import write_json
from components.contracts import METRICS, Judge, RunLog, Verdict
from components.image import promptset
from components.image.evaluation import plots
from components.image.evaluation.autoencoder import reconstruction
from components.image.evaluation.benchmark import Speed, measure
from components.image.evaluation.drawing import BASE, HALF_LORA, LORA, NO_LORA, Variant, draw_all, lcm_name, variants
from components.image.evaluation.gallery import COUNT as GALLERY_COUNT
from components.image.evaluation.gallery import gallery
from components.image.evaluation.metrics import Metrics, Panel, followed, judged_metrics, plain_metrics, variant_rows
from components.image.evaluation.prompting import PromptBenchmark
from components.image.generation.latent import load_variant
from components.image.judging import open_judge
from components.image.product import LCM as LCM_FOLDER
from components.image.product import LORA as LORA_FOLDER
from components.image.promptset import PromptItem
from components.image.recipe import EvaluateConfig
from components.image.sheets import contact, sheet
from components.plugins import plugin
from components.prompting.reader import Reader

GALLERY, SHORT = "gallery", "short"
_COMPARED = 8
_SHOWN = 32


def evaluate(config: EvaluateConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    """Draw, judge, time; write metrics.json, rows.json, grids/, xy.png and plots/.

    Pictures lie in `out/.pictures` as they are drawn: an interrupted evaluation goes on where it stopped. Where there
    is no distilled student, its metrics are left out.

    Raises:
        DataError: prompts, reference features or the dataset cannot be read.
        ModelError: a model or the judge cannot be loaded.
        RecipeError: a style that the judge does not know.
    """
    lora, lcm = inputs["train"] / LORA_FOLDER, _student(inputs)
    items = _prompts(config, inputs)
    panel = _panel(config, inputs, log)  # before anything is drawn, so that what is missing is said at once
    columns = variants(config, distilled=lcm is not None)
    served = LORA if lcm is None else lcm_name(config.main_steps)
    more = {GALLERY: _gallery_prompts(config, inputs)}
    if config.short_count and "prompts" in inputs:
        more[SHORT] = promptset.load(inputs["prompts"], "short", config.short_count)
    drawn = draw_all(config, columns, items, lora, lcm, out / ".pictures", log, more)
    known = _pictures(inputs["dataset"], "train")
    metrics = plain_metrics(config, drawn, known)
    metrics.values |= reconstruction(config, _pictures(inputs["dataset"], "val"), panel).values
    metrics.values |= {"judge.digest": None, "prompts.digest": _prompts_digest(inputs), "prompts.count": config.count}
    if panel is not None:
        verdicts = {column.name: panel.judge.look(drawn[column.name]) for column in columns}
        training = panel.judge.look(known).features
        metrics.values |= judged_metrics(config, panel, items, verdicts, training).values
        if SHORT in more:
            followed(config, panel, more[SHORT], panel.judge.look(drawn[SHORT]), training, served, metrics, SHORT)
        metrics.values |= {"judge.digest": panel.judge.digest}
        for name, fact in panel.judge.facts.items():
            metrics.put(f"judge.{name}", fact)
        plots.by_attribute(out / "plots" / "attributes.png", _attribute_shares(panel, items, verdicts))
        log.table("prompts", _prompt_rows(panel, items, verdicts))
        metrics.values |= _benchmark_prompts(config, inputs, panel.judge, out, log)
    speed = measure(config, items[0].prompt, lora, lcm, log)
    for name, value in speed.metrics().items():
        metrics.put(name, value)
    metrics.values |= {"speed.engine_name": speed.engine, "speed.engine_error": speed.engine_error}
    metrics.values |= {"speed.baseline_precision": speed.baseline}
    _grids(columns, items, drawn, out)
    gallery(panel, more[GALLERY], drawn[GALLERY], out / "grids")
    _report(config, columns, metrics, speed, out, log)


def _student(inputs: Mapping[str, Path]) -> Path | None:
    """The distilled student's folder; None where the recipe distils nothing."""
    return inputs["distill"] / LCM_FOLDER if "distill" in inputs else None


def _benchmark_prompts(
    config: EvaluateConfig, inputs: Mapping[str, Path], judge: Judge, out: Path, log: RunLog
) -> dict[str, Any]:
    """How the student takes prompts with mistakes, raw and read: `prompts.*`, `calibration.json`, a grid and a plot."""
    lcm = _student(inputs)
    if lcm is None or config.reader is None or not config.calibrate_count or "prompts" not in inputs:
        return {}
    bundle = load_variant(config.model, lora=inputs["train"] / LORA_FOLDER, lcm=lcm)
    reader: Reader = plugin("reader", config.reader)
    benchmark = PromptBenchmark(config, bundle, reader, judge, inputs["prompts"], out, log)
    found = benchmark.measure(config.attacked_count, benchmark.calibrate(config.calibrate_count))
    return {f"prompts.{name}": value for name, value in found.values.items()}


def _panel(config: EvaluateConfig, inputs: Mapping[str, Path], log: RunLog) -> Panel | None:
    if config.judge is None:
        log.warn("there is no judge: adherence, style, copying and KID are left out")
        return None
    if config.judge.reference is None:
        log.warn("there are no reference features: KID and copying are left out")
    return Panel.of(open_judge(config.judge, inputs), config.judge)


def _prompts(config: EvaluateConfig, inputs: Mapping[str, Path]) -> tuple[PromptItem, ...]:
    """The report set; without one the captions of the dataset's own pictures, held-out pictures first."""
    if "prompts" in inputs:
        return promptset.load(inputs["prompts"], "report", config.count)
    index = json.loads((inputs["dataset"] / "index.json").read_text(encoding="utf-8"))
    samples = sorted(index["samples"], key=lambda sample: (sample["split"] == "train", sample["id"]))
    texts = [sample["captions"][0].removeprefix(index["trigger"]).lstrip(" ,") for sample in samples]
    repeated = [PromptItem(texts[place % len(texts)], {}, place) for place in range(config.count)]
    return tuple(repeated)


def _gallery_prompts(config: EvaluateConfig, inputs: Mapping[str, Path]) -> tuple[PromptItem, ...]:
    """Prompts as people type them, where the prompt sets have some; else the first that are measured."""
    if "prompts" in inputs and (inputs["prompts"] / "gallery.json").is_file():
        return promptset.load(inputs["prompts"], "gallery")[:GALLERY_COUNT]
    return _prompts(config, inputs)[:GALLERY_COUNT]


def _prompts_digest(inputs: Mapping[str, Path]) -> str | None:
    return promptset.digest(inputs["prompts"]) if "prompts" in inputs else None


def _pictures(dataset: Path, split: str) -> list[Image.Image]:
    index = json.loads((dataset / "index.json").read_text(encoding="utf-8"))
    names = [sample["id"] for sample in index["samples"] if sample["split"] == split]
    return [Image.open(dataset / "images" / f"{name}.png").convert("RGB") for name in names]


def _attribute_shares(
    panel: Panel, items: Sequence[PromptItem], verdicts: Mapping[str, Verdict]
) -> dict[str, dict[str, float]]:
    shares = {}
    for name, verdict in verdicts.items():
        hits = panel.hits(items, verdict, name)
        groups = statistics.by_aspect([item.attributes for item in items], hits)
        shares[name] = {key: statistics.mean(row) for key, row in groups.items()}
    return {name: found for name, found in shares.items() if len(verdicts[name].features) == len(items)}


def _prompt_rows(panel: Panel, items: Sequence[PromptItem], verdicts: Mapping[str, Verdict]) -> list[dict[str, Any]]:
    """One row a prompt, the worst of the last variant on all prompts first: where to look."""
    columns = {
        name: panel.adherence(items, verdict, name)
        for name, verdict in verdicts.items()
        if len(verdict.features) == len(items)
    }
    rows = [
        {"prompt": item.prompt, "seed": item.seed, **{name: _plain(values[place]) for name, values in columns.items()}}
        for place, item in enumerate(items)
    ]
    last = list(columns)[-1]
    return sorted(rows, key=lambda row: (row[last] or 0, row["prompt"]))


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _grids(
    columns: Sequence[Variant], items: Sequence[PromptItem], drawn: Mapping[str, Sequence[Image.Image]], out: Path
) -> None:
    grids = out / "grids"
    grids.mkdir(exist_ok=True)
    for column in columns:
        if column.count == len(items):
            contact(drawn[column.name][:_SHOWN]).save(grids / f"{column.name}.png")
    count = min(_COMPARED, *(column.count for column in columns))
    labels = [item.prompt for item in items]
    rows = [[drawn[column.name][place] for column in columns] for place in range(count)]
    sheet(rows, [column.label for column in columns], labels[:count]).save(grids / "compare.png")
    scales = {"no LoRA": NO_LORA, "LoRA 0.5": HALF_LORA, "LoRA 1": LORA}
    rows = [[drawn[name][place] for name in scales.values()] for place in range(len(drawn[NO_LORA]))]
    sheet(rows, list(scales), labels[: len(rows)]).save(out / "xy.png")


def _report(
    config: EvaluateConfig, columns: Sequence[Variant], metrics: Metrics, speed: Speed, out: Path, log: RunLog
) -> None:
    rows = variant_rows([column.name for column in columns], metrics.values)
    for row, column in zip(rows, columns, strict=True):
        # The base does what the LoRA does: it is fused.
        timing = speed.timings[LORA if column.name == BASE else column.name]
        row |= {
            "steps": column.steps,
            "pictures": column.count,
            "latency_ms": timing.median,
            "peak_mib": timing.peak_mib,
        }
    write_json(out / METRICS, metrics.values)
    write_json(out / "rows.json", rows)
    if f"{lcm_name(config.main_steps)}.adherence" in metrics.values:
        plots.by_steps(out / "plots" / "steps.png", metrics.values, config.lcm_steps)
    plots.latency(out / "plots" / "latency.png", {name: timing.median for name, timing in speed.timings.items()})
    log.metrics(metrics.numbers())
    log.table("variants", rows)
    for path in sorted(chain(out.glob("grids/*.png"), out.glob("plots/*.png"), [out / "xy.png", out / METRICS])):
        log.file(path, path.parent.name if path.parent != out else "")

"""ControlNets on the champion: pose and sketch, by the model of all steps and by its student."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from components.errors import RequestError
from components.image.control.cases import Case, columns, compared, measured, of_examples
from components.image.control.drawing import Sampling
from components.image.control.evaluate import Counter, distilled, reader_error
from components.image.control.metrics import CONTROLLED, FEW, FEW_FREE, FREE, control_metrics
from components.image.control.recipe import Kind
from components.image.generation.control.shelf import base_digest, find
from components.image.promptset import with_trigger
from components.plugins import plugin
from components.statistics import Floats
from flows.bench.modes import ModesBench, Part

_BATCH = 8


def measure(bench: ModesBench) -> Part:
    """`pose.*`, `sketch.*`, `lcm.control_ratio` (the lower of both kinds), `control.soundness_ratio`.

    Raises RequestError where there is no ControlNet for a kind.
    """
    part = Part()
    ratios, sound = [], []
    for kind in get_args(Kind):
        found, drawn, cases = _kind(bench, kind)
        ratio = found.pop("lcm.control_ratio", None), found.pop("lcm.control_ratio.interval", None)
        part.metrics.values |= found
        if ratio[0] is not None:
            key = f"lcm.{kind}.control_ratio"
            part.metrics.values |= {key: ratio[0], f"{key}.interval": ratio[1]}
            ratios.append(ratio[0])
        part.sheets[f"control: {kind}"] = compared(cases, drawn)
        sound += _soundness(bench, cases, drawn)
    if ratios:
        part.metrics.put("lcm.control_ratio", min(ratios))
    if sound:
        part.metrics.put("control.soundness_ratio", min(sound))
    return part


def _kind(bench: ModesBench, kind: Kind) -> tuple[dict[str, Any], dict[str, list[Image.Image]], list[Case]]:
    """Metrics, pictures by column, and cases of one kind."""
    promoted = bench.promoted
    network = Path(find(kind, None, base_digest(promoted.base.base), promoted.folder).place)
    cases = _cases(bench, kind)
    teacher = Sampling(bench.recipe.evaluate.teacher_steps, bench.recipe.evaluate.guidance, batch_size=_BATCH)
    folder, tell = bench.out / kind, Counter(4 * len(cases), bench.log)
    drawn = columns(bench.teacher, cases, network, teacher, folder, tell, (CONTROLLED, FREE))
    if promoted.card.mode != "none":
        few = Sampling(promoted.card.steps, None, "lcm", _BATCH)
        drawn |= columns(distilled(promoted), cases, network, few, folder, tell, (FEW, FEW_FREE))
    bootstrap = bench.bootstrap(len(cases))
    metric, values = measured(kind, drawn, cases, network)
    metrics = control_metrics(metric, values, [case.group for case in cases], bootstrap)
    if kind == "pose":
        metrics.put("pose.reader_px", reader_error(network, cases, bootstrap))
    return metrics.values, drawn, cases


def _cases(bench: ModesBench, kind: Kind) -> list[Case]:
    """Held-out portraits in the champion's style, asked for as its users do."""
    if bench.recipe.judge is None or bench.recipe.judge.plugin != "portraits":
        raise RequestError(f"recipe {bench.recipe.name!r} is not of the embedded world.", hint="Name one that is.")
    side, styles = bench.promoted.card.model.resolution, (bench.style,)
    examples = plugin("examples", "portraits").draw(
        bench.count, bench.seed, side, held_out=True, groups=styles, named=False
    )
    trigger = bench.promoted.card.trigger
    return [
        Case(case.picture, case.control, with_trigger(case.prompt, trigger), case.group, case.face)
        for case in of_examples(kind, examples)
    ]


def _soundness(bench: ModesBench, cases: list[Case], drawn: dict[str, list[Image.Image]]) -> list[float]:
    """Soundness under control over that without, of each pair of columns; nothing where the judge measures none."""
    if bench.judge is None:
        return []
    prompts = [case.prompt for case in cases]
    found: dict[str, Floats] = {}
    for name, pictures in drawn.items():
        verdict = bench.judge.look(pictures)
        training = np.asarray(verdict.features)
        scores = bench.judge.scores(verdict, prompts, training)
        if "soundness" in scores:
            found[name] = np.asarray(scores["soundness"])
    pairs = ((CONTROLLED, FREE), (FEW, FEW_FREE))
    return [bench.bootstrap(len(cases)).ratio(found[a], found[b]).value for a, b in pairs if a in found and b in found]

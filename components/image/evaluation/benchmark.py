"""How long one picture takes and how much memory: text to PNG bytes, batch 1, all cores, runs interleaved.

Interleaved, because a machine's speed drifts: each round runs every contender once, and the median is over rounds.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from components.contracts import RunLog
from components.image.evaluation.drawing import lcm_name
from components.image.families.bundle import Bundle, free
from components.image.generation.engine import Engine, build_engine
from components.image.generation.latent import Kind, load_variant, pictures
from components.image.generation.metadata import kyara_version, to_png
from components.image.generation.request import GenerateRequest
from components.image.generator import ImageGenerator
from components.image.product import ModelCard, PromotedModel
from components.image.promptset import with_trigger
from components.image.recipe import EvaluateConfig
from components.settings import settings

_WARM_UPS = 2
_FEW_ROUNDS = 5
TEACHER, SERVED = "lora", "served"
Draw = Callable[[], bytes]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of each round, and the most memory in use while drawing, in MiB."""

    rounds: tuple[float, ...]
    peak_mib: float

    @property
    def median(self) -> float:
        """Milliseconds."""
        return median(self.rounds)


@dataclass(frozen=True)
class Speed:
    """Timings by contender: `lora` (the teacher), `lcm<steps>` in plain torch, and `served` with its engine's name.

    `baseline` says in which precision the plain contenders multiply.
    """

    timings: Mapping[str, Timing]
    main: str
    engine: str
    engine_error: float
    baseline: str = "float32"

    def metrics(self) -> dict[str, float]:
        """The speed.* metrics: the teacher's time over the served one, and its two factors."""
        baseline, plain, served = (self.timings[name].median for name in (TEACHER, self.main, SERVED))
        return {
            "speed.baseline_ms": baseline,
            "speed.served_ms": served,
            "speed.total": baseline / served,
            "speed.algorithm": baseline / plain,
            "speed.engine": plain / served,
        }


def measure(config: EvaluateConfig, prompt: str, lora: Path, lcm: Path | None, log: RunLog) -> Speed:
    """Time teacher, student (where there is one) and served engine on one prompt.

    The baseline is the usual way: float32, plain torch, `teacher_steps` with guidance in one batch of two. All
    contenders decode with the same VAE and write the same PNG. A GPU holds one float32 model at a time beside the
    served one.
    """
    plain = config.model.model_copy(update={"dtype": "float32"})
    with _all_cores():
        teacher = load_variant(plain, lora=lora)
        _place(teacher, "cpu")
        student = None if lcm is None else load_variant(plain, lora=lora, lcm=lcm)
        if student is not None:
            _place(student, "cpu")
        free()
        generator = _served(config, lora, lcm)
        side = config.model.resolution
        called = with_trigger(prompt, config.trigger)
        contenders: dict[str, Draw] = {
            TEACHER: _plain(teacher, called, config.teacher_steps, side, config.guidance, "ddim"),
            SERVED: lambda: generator.answer(GenerateRequest(prompt=called, seed=0)).content,
        }
        bundles = {TEACHER: teacher}
        main = TEACHER
        if student is not None:
            main = lcm_name(config.main_steps)
            names = {lcm_name(steps): steps for steps in config.lcm_steps}
            bundles |= dict.fromkeys(names, student)
            contenders |= {name: _plain(student, called, steps, side, None, "lcm") for name, steps in names.items()}
        few = contenders.keys() - {TEACHER, main, SERVED}
        timings = interleaved(contenders, config.timing_runs, log, few=few, bundles=bundles)
    engine = generator.engine
    baseline = plain_precision(teacher.device)
    log.message(f"the baseline of the speed is {baseline}")
    return Speed(timings, main, engine.name, max(engine.errors.values(), default=0.0), baseline)


def plain_precision(device: torch.device) -> str:
    """In which precision torch multiplies float32 numbers here: a GPU may round them to TF32 (10 bits) first."""
    if device.type != "cuda":
        return "float32"
    switches = {
        "matrix products": torch.backends.cuda.matmul.allow_tf32,
        "convolutions": torch.backends.cudnn.allow_tf32,
    }
    rounded = [name for name, on in switches.items() if on]
    return f"float32 ({', '.join(f'{name} in TF32' for name in rounded) or 'no TF32'})"


def interleaved(
    contenders: Mapping[str, Draw],
    rounds: int,
    log: RunLog,
    few: Container[str] = (),
    bundles: Mapping[str, Bundle] | None = None,
) -> dict[str, Timing]:
    """Warm every contender up, then run all of them once a round; those in `few` in the first rounds only.

    Args:
        bundles: models of contenders that lie on their device only while it is their turn.
    """
    lent = bundles or {}
    peaks = {}
    for name, draw in contenders.items():
        with _on_device(lent.get(name)):
            peaks[name] = _peak_mib(draw)
            for _ in range(_WARM_UPS - 1):
                draw()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for done in range(rounds):
        for name, draw in contenders.items():
            if done >= _FEW_ROUNDS and name in few:
                continue
            with _on_device(lent.get(name)):
                started = time.perf_counter()
                draw()
                times[name].append(1000 * (time.perf_counter() - started))
        log.progress(done + 1, rounds, unit="round")
    return {name: Timing(tuple(rounds), peaks[name]) for name, rounds in times.items()}


@contextlib.contextmanager
def _on_device(bundle: Bundle | None) -> Iterator[None]:
    if bundle is None:
        yield
        return
    _place(bundle, bundle.device)
    try:
        yield
    finally:
        _place(bundle, "cpu")


def _place(bundle: Bundle, device: torch.device | str) -> None:
    for part in (bundle.unet, bundle.vae, *bundle.text_encoders):
        part.to(device)


def _served(config: EvaluateConfig, lora: Path, lcm: Path | None) -> ImageGenerator:
    """The engine that the service will use, around the same weights."""
    bundle = load_variant(config.model, lora=lora, lcm=lcm)
    side = config.model.resolution
    usual: dict[str, Any] = {"steps": config.teacher_steps, "guidance": config.guidance}
    facts = usual if lcm is None else {"mode": bundle.lcm["mode"], "steps": config.main_steps}
    engine: Engine = build_engine(
        bundle,
        cache_dir=settings().state / "cache" / "engine",
        size=(side, side),
        prompt=config.trigger,
        steps=facts["steps"],
    )
    card = ModelCard(name="candidate", model=config.model, trigger=config.trigger, **facts)
    return ImageGenerator(bundle, PromotedModel(lcm or lora, card, ""), engine)


def _plain(bundle: Bundle, prompt: str, steps: int, side: int, guidance: float | None, kind: Kind) -> Draw:
    """Plain torch, and a PNG that says as much as the served one."""
    facts = {
        "prompt": prompt,
        "negative_prompt": "",
        "seed": 0,
        "steps": steps,
        "sampler": kind,
        "guidance_scale": guidance or 1.0,
        "width": side,
        "height": side,
        "model": bundle.base,
        "model_digest": "",
        "kyara": kyara_version(),
    }

    def draw() -> bytes:
        image = pictures(bundle, [prompt], [0], steps=steps, guidance=guidance, kind=kind, size=(side, side))[0]
        return to_png(image, facts)

    return draw


def _peak_mib(draw: Draw) -> float:
    """Most memory in use while drawing once: the GPU's where there is one, else the whole process's."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        draw()
        return float(torch.cuda.max_memory_allocated() / 2**20)
    with _watched() as seen:
        draw()
    return max(seen) / 2**20


@contextlib.contextmanager
def _watched() -> Iterator[list[int]]:
    """Resident bytes of this process, sampled every few milliseconds."""
    process, done = psutil.Process(), threading.Event()
    seen = [process.memory_info().rss]

    def watch() -> None:
        while not done.wait(0.005):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
        seen.append(process.memory_info().rss)


@contextlib.contextmanager
def _all_cores() -> Iterator[None]:
    """All cores that this process may use, unless the settings say otherwise."""
    usual = torch.get_num_threads()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(settings().threads or allowed)
    try:
        yield
    finally:
        torch.set_num_threads(usual)

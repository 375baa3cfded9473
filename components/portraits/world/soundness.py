"""How like a true render a picture is, whatever it shows: the renderer knows every picture that could have been meant.

A generated picture is held against renders with the attributes that the judge sees in it. What is compared are lines:
maps of the differences of neighbouring pixels in four directions, pooled to cells of 4x4 pixels. A shift by one cell is
forgiven, a missing mouth is not. Definition: DESIGN section 3, "soundness".
"""

import os
import random
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from components.portraits.judge import Judge, Verdict
from components.portraits.lines import Maps, distances, gradient_maps
from components.portraits.vocabulary import ATTRIBUTES, values
from components.portraits.world.renders import Portrait, render
from components.statistics import Bootstrap, Estimate

CANDIDATES = 24
"""Renders that a picture is held against; the nearest one counts."""
_POOLED = 16
"""Portraits from which on processes are worth their start."""
_FIRST_SEED = 3_000_000_000
"""Above every seed that `sample_portrait` draws: no candidate is a picture that anything was trained on."""


def seen_portraits(judge: Judge, verdict: Verdict) -> list[Portrait]:
    """What the judge sees in each picture, as something that can be drawn: the likeliest values that the style has."""
    return [_seen(judge, verdict, row, str(style)) for row, style in enumerate(verdict.style)]


def _seen(judge: Judge, verdict: Verdict, row: int, style: str) -> Portrait:
    attributes = {}
    for name in ATTRIBUTES:
        if offered := values(style, name):
            likely = dict(zip(judge.heads[name], verdict.probabilities[name][row], strict=True))
            attributes[name] = max(offered, key=lambda value: likely[value])
    return Portrait(style, attributes, row)


@dataclass(frozen=True)
class Soundness:
    """Distances of N pictures, [N] each, to the nearest of `CANDIDATES` renders.

    found: of the generated picture to renders of what it shows.
    render: of a held-out render of the same attributes to those: the best that can be hoped for.
    other: of that held-out render to renders of what another picture shows: as near as a wrong one comes.
    """

    found: NDArray[np.float64]
    render: NDArray[np.float64]
    other: NDArray[np.float64]

    def estimate(self) -> Estimate:
        """(other - found) / (other - render) of the means, with its interval over pictures."""
        return Bootstrap(len(self.found)).soundness(self.found, self.render, self.other)

    def scores(self) -> NDArray[np.float64]:
        """Of each picture, [N]: its gain over a wrong render, in a held-out render's; their mean is the ratio."""
        possible = np.mean(self.other - self.render)
        return (self.other - self.found) / possible if possible > 0.0 else np.full(len(self.found), np.nan)


def of_verdict(judge: Judge, verdict: Verdict, maps: Maps) -> Soundness:
    """Of pictures that a judge has seen; `maps` are their lines."""
    return soundness(maps, seen_portraits(judge, verdict), size=judge.size, workers=os.cpu_count() or 1)


def soundness(
    maps: Maps, portraits: Sequence[Portrait], *, candidates: int = CANDIDATES, size: int = 128, workers: int = 1
) -> Soundness:
    """Hold pictures, as gradient maps [N, 4, 32, 32], against renders of what was seen in each (`seen_portraits`)."""
    keys = [_key(portrait) for portrait in portraits]
    wanted = [*dict(zip(keys, portraits, strict=True)).values()]
    draw = partial(_candidates, count=candidates, size=size)
    if workers < 2 or len(wanted) < _POOLED:
        drawn = [draw(portrait) for portrait in wanted]
    else:
        with ProcessPoolExecutor(workers) as pool:
            drawn = list(pool.map(draw, wanted, chunksize=4))
    renders = dict(zip(map(_key, wanted), drawn, strict=True))
    rows = []
    for shown, key, other in zip(maps, keys, map(_key, _others(portraits)), strict=True):
        truth, right, wrong = renders[key][0], renders[key][1:], renders[other][1:]
        rows.append([distances(one, table).min() for one, table in ((shown, right), (truth, right), (truth, wrong))])
    return Soundness(*np.asarray(rows, np.float64).reshape(-1, 3).T)


def _others(portraits: Sequence[Portrait]) -> list[Portrait]:
    """For each portrait another one of its style, so that style alone is no merit; any other where there is none."""
    rng = random.Random(0)
    chosen = []
    for portrait in portraits:
        same = [other for other in portraits if other.attributes != portrait.attributes]
        alike = [other for other in same if other.style == portrait.style]
        chosen.append(rng.choice(alike or same or [portrait]))
    return chosen


def _key(portrait: Portrait) -> str:
    return f"{portrait.style}/{sorted(portrait.attributes.items())}"


def _candidates(portrait: Portrait, count: int, size: int) -> Maps:
    """Maps of a held-out render and of `count` others of the same attributes, [1 + count, 4, 32, 32]."""
    first = _FIRST_SEED + zlib.crc32(_key(portrait).encode())
    drawn = [
        np.asarray(render(Portrait(portrait.style, portrait.attributes, first + turn), size))
        for turn in range(count + 1)
    ]
    return gradient_maps(np.stack(drawn))

"""How like a true render a picture is, whatever it shows: the renderer knows every picture that could have been meant.

A generated picture is held against renders with the attributes that the judge sees in it. What is compared are lines:
maps of the differences of neighbouring pixels in four directions, pooled to cells of 4x4 pixels. A shift by one cell is
forgiven, a missing mouth is not. Definition: DESIGN section 3, "soundness".
"""

import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.embedded.renders import Portrait, render
from components.judge import Judge, Verdict
from components.metrics import Bootstrap, Estimate
from components.vocabulary import ATTRIBUTES, values

Maps = NDArray[np.float32]

CANDIDATES = 48
"""Renders that a picture is held against; the nearest one counts."""
CELLS = 32
_SHIFTS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
_FIRST_SEED = 3_000_000_000
"""Above every seed that `sample_portrait` draws: no candidate is a picture that anything was trained on."""


def gradient_maps(images: NDArray[np.uint8]) -> Maps:
    """Strength of lines across four directions, float32 [N, 4, 32, 32] in 0..1, of pictures uint8 [N, S, S, 3].

    The difference of two pixels is that of the colour channel in which they differ most.
    """
    pixels = images.astype(np.float32) / 255.0
    side = pixels.shape[1]
    maps = np.zeros((len(images), len(_DIRECTIONS), side, side), np.float32)
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    for place, (down, right) in enumerate(_DIRECTIONS):
        moved = padded[:, 1 + down : 1 + down + side, 1 + right : 1 + right + side]
        maps[:, place] = np.abs(moved - pixels).max(-1)
    cell = side // CELLS
    pooled = maps.reshape(len(images), len(_DIRECTIONS), CELLS, cell, CELLS, cell).mean((3, 5))
    return np.asarray(pooled, np.float32)


def distances(maps: Maps, others: Maps) -> NDArray[np.float32]:
    """From one picture's maps [4, h, w] to each of `others` [M, 4, h, w]: sum of differences over sum of both, [M].

    0 for the same lines, 1 for lines in other places only; the least over shifts by one cell.
    """
    best = np.full(len(others), np.inf, np.float32)
    for down, right in _SHIFTS:
        here, there = _overlap(maps[None], others, down, right)
        above = np.abs(here - there).sum((1, 2, 3))
        best = np.minimum(best, above / np.maximum(here.sum((1, 2, 3)) + there.sum((1, 2, 3)), 1e-6))
    return best


def _overlap(one: Maps, other: Maps, down: int, right: int) -> tuple[Maps, Maps]:
    """The parts of two stacks of maps that cover each other when `other` is moved."""
    height, width = one.shape[-2:]
    rows, columns = slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0))
    back = slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0))
    return one[..., rows, columns], other[..., back[0], back[1]]


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

    def chosen(self, mask: NDArray[np.bool_]) -> "Soundness":
        return Soundness(self.found[mask], self.render[mask], self.other[mask])

    def estimate(self) -> Estimate:
        """(other - found) / (other - render) of the means, with its interval over pictures."""
        return Bootstrap(len(self.found)).soundness(self.found, self.render, self.other)


def soundness(
    judge: Judge,
    pictures: Sequence[Image.Image],
    verdict: Verdict,
    *,
    candidates: int = CANDIDATES,
    workers: int = 1,
) -> Soundness:
    """Hold each picture against renders of what the judge saw in it."""
    size = judge.size
    drawn = np.stack([np.asarray(picture.convert("RGB").resize((size, size))) for picture in pictures])
    portraits = seen_portraits(judge, verdict)
    held = list(zip(gradient_maps(drawn), portraits, _others(portraits), range(len(drawn)), strict=True))
    measure = partial(_distances_of, candidates=candidates, size=size)
    if workers < 2:
        rows = [measure(one) for one in held]
    else:
        with ProcessPoolExecutor(workers) as pool:
            rows = list(pool.map(measure, held, chunksize=4))
    found, truth, other = np.asarray(rows, np.float64).T
    return Soundness(found, truth, other)


def _others(portraits: Sequence[Portrait]) -> list[Portrait]:
    """For each portrait another one of its style, so that style alone is no merit; any other where there is none."""
    rng = random.Random(0)
    chosen = []
    for portrait in portraits:
        same = [other for other in portraits if other.attributes != portrait.attributes]
        alike = [other for other in same if other.style == portrait.style]
        chosen.append(rng.choice(alike or same or [portrait]))
    return chosen


def _distances_of(held: tuple[Maps, Portrait, Portrait, int], candidates: int, size: int) -> tuple[float, float, float]:
    """Nearest renders: to the picture, to a held-out render of the same, to that among renders of another portrait."""
    maps, portrait, other, place = held
    first = _FIRST_SEED + place * (2 * candidates + 1)
    right = _maps_of(portrait, range(first, first + candidates), size)
    wrong = _maps_of(other, range(first + candidates, first + 2 * candidates), size)
    truth = _maps_of(portrait, range(first + 2 * candidates, first + 2 * candidates + 1), size)[0]
    return distances(maps, right).min(), distances(truth, right).min(), distances(truth, wrong).min()


def _maps_of(portrait: Portrait, seeds: range, size: int) -> Maps:
    drawn = [np.asarray(render(Portrait(portrait.style, portrait.attributes, seed), size)) for seed in seeds]
    return gradient_maps(np.stack(drawn))


def round_trip(images: NDArray[np.uint8], changed: NDArray[np.uint8], judge: Judge, workers: int = 1) -> Estimate:
    """Soundness of true renders [N, S, S, 3] after something changed them, as an autoencoder does."""
    verdict = judge.look(images)
    pictures = [Image.fromarray(picture) for picture in changed]
    return soundness(judge, pictures, verdict, workers=workers).estimate()

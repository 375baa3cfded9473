"""The metrics, as functions of arrays. Definitions: DESIGN section 3, "Judge". No torch, no pictures.

Prompts are the unit of resampling: one picture a prompt, so that row i of every array belongs to prompt i. A row of NaN
asks for nothing that counts and is left out of means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Names = NDArray[np.str_]


def adherence_of(hits: Mapping[str, Floats]) -> Floats:
    """Per picture, the share of hits [N] over the attributes that count."""
    return _row_means(np.stack(list(hits.values()), axis=1))


LEAST_ASKED = 8
"""Pictures below which an aspect is not called the worst one."""


def by_aspect(asked: Sequence[Mapping[str, str]], hits: Mapping[str, Floats]) -> dict[str, Floats]:
    """The hits [N] of each aspect; one that is there or not is two (`earrings=yes`, `earrings=no`), NaN elsewhere.

    Few prompts ask for an accessory: a model that never draws one is right about all others. Aspects that nobody
    asked for are left out.
    """
    groups: dict[str, Floats] = {}
    for aspect, rows in hits.items():
        wanted = np.array([row.get(aspect, "") for row in asked[: len(rows)]])
        values = [value for value in ("yes", "no") if (wanted == value).any()]
        for value in values:
            groups[f"{aspect}={value}"] = np.where(wanted == value, rows, np.nan)
        if not values:
            groups[aspect] = rows
    return {name: rows for name, rows in groups.items() if not np.isnan(rows).all()}


def balanced(groups: Mapping[str, Floats]) -> float:
    """Mean over aspects of their means (see `by_aspect`): each counts as much as any other."""
    return float(np.mean([mean(rows) for rows in groups.values()])) if groups else float("nan")


def worst(groups: Mapping[str, Floats]) -> str | None:
    """The aspect of least mean among those that at least `LEAST_ASKED` pictures were asked for; None without any."""
    means = {name: mean(rows) for name, rows in groups.items() if np.sum(~np.isnan(rows)) >= LEAST_ASKED}
    return min(means, key=lambda name: means[name], default=None)


def nearest(points: Floats, others: Floats) -> Floats:
    """Euclidean distance from each point [N, D] to the nearest of the others [M, D], [N]."""
    points, others = np.asarray(points, np.float64), np.asarray(others, np.float64)
    squares = (points**2).sum(1)[:, None] + (others**2).sum(1)[None, :] - 2 * points @ others.T
    return np.asarray(np.sqrt(np.maximum(squares.min(axis=1), 0)))


def copies(generated: Floats, training: Floats, held_out: Floats, percentile: float = 1.0) -> Floats:
    """1 where a picture is nearer to a training picture than that percentile of held-out pictures are, [N].

    Args:
        generated, training, held_out: judge features [N, D], [M, D], [K, D].
        percentile: 0 to 100; by its choice about this percentage of honest new pictures counts as copies.
    """
    bound = np.percentile(nearest(held_out, training), percentile)
    return np.asarray(nearest(generated, training) < bound, np.float64)


def kid(x: Floats, y: Floats) -> float:
    """Kernel inception distance of features [N, D] and [M, D] (arXiv 1801.01401), unbiased, so it may be below 0."""
    return KernelDistance(x, y).value


@dataclass(frozen=True, eq=False)
class KernelDistance:
    """KID of pictures [N, D] against a reference [M, D]; the kernel is computed once, however many resamples follow."""

    pictures: Floats
    reference: Floats

    @cached_property
    def _inner(self) -> Floats:
        kernel = _kernel(self.pictures, self.pictures)
        np.fill_diagonal(kernel, 0)
        return kernel

    @cached_property
    def _across(self) -> Floats:
        return np.asarray(_kernel(self.pictures, self.reference).mean(axis=1))

    @cached_property
    def _constant(self) -> float:
        count = len(self.reference)
        kernel = _kernel(self.reference, self.reference)
        return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))

    @property
    def value(self) -> float:
        """The distance of all pictures."""
        return float(self.resampled(np.ones((1, len(self.pictures))))[0])

    def resampled(self, weights: Floats) -> Floats:
        """The distance for each row of counts [R, N], [R].

        A picture drawn twice is not paired with itself, else every resample would look further away than the sample.
        NaN for a row that holds one picture only.
        """
        total = weights.sum(axis=1)
        pairs = total**2 - (weights**2).sum(axis=1)
        inner = _divide(((weights @ self._inner) * weights).sum(axis=1), pairs)
        return np.asarray(inner - 2 * (weights @ self._across) / total + self._constant)


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> list[float]:
        """[low, high]."""
        return [self.low, self.high]


@dataclass(frozen=True)
class Bootstrap:
    """Percentile bootstrap over prompts. Paired: every method uses the same resampled prompts for all its arguments."""

    count: int
    resamples: int = 1000
    seed: int = 0

    @cached_property
    def weights(self) -> Floats:
        """How often each prompt was drawn, [resamples, count]."""
        generator = np.random.default_rng(self.seed)
        drawn = generator.multinomial(self.count, np.full(self.count, 1 / self.count), size=self.resamples)
        return drawn.astype(np.float64)

    def mean(self, values: Floats) -> Estimate:
        """Mean of values [count]."""
        return _estimate(mean(values), self._means(values))

    def difference(self, first: Floats, second: Floats) -> Estimate:
        """Mean of the first less mean of the second."""
        return _estimate(mean(first) - mean(second), self._means(first) - self._means(second))

    def ratio(self, first: Floats, second: Floats) -> Estimate:
        """Mean of the first over mean of the second; NaN where the second is 0."""
        return _estimate(_divide(mean(first), mean(second)), _divide(self._means(first), self._means(second)))

    def kid(self, distance: KernelDistance) -> Estimate:
        """KID against the reference."""
        return _estimate(distance.value, distance.resampled(self.weights))

    def kid_gap(self, student: KernelDistance, teacher: KernelDistance, base: KernelDistance) -> Estimate:
        """(KID of the student - KID of the teacher) / KID of the base."""
        point = _divide(student.value - teacher.value, base.value)
        gaps = student.resampled(self.weights) - teacher.resampled(self.weights)
        return _estimate(point, _divide(gaps, base.resampled(self.weights)))

    def soundness(self, found: Floats, render: Floats, other: Floats) -> Estimate:
        """(other - found) / (other - render) of the means: 1 where pictures lie as near as renders, 0 as wrong ones."""
        point = _divide(mean(other) - mean(found), mean(other) - mean(render))
        far, near = self._means(other), self._means(render)
        return _estimate(point, _divide(far - self._means(found), far - near))

    def _means(self, values: Floats) -> Floats:
        known = ~np.isnan(values)
        return _divide(self.weights @ np.where(known, values, 0.0), self.weights @ known.astype(np.float64))


def mean(values: Floats) -> float:
    """Mean of the rows that count; NaN where none does."""
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _row_means(table: Floats) -> Floats:
    known = ~np.isnan(table)
    return _divide(np.where(known, table, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _divide(numerator: Floats | float, denominator: Floats | float) -> Floats:
    """Elementwise; NaN where the denominator is 0."""
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    quotient = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def _estimate(value: float | Floats, samples: Floats) -> Estimate:
    known = samples[~np.isnan(samples)]
    low, high = np.percentile(known, [2.5, 97.5]) if known.size else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high))


def _kernel(x: Floats, y: Floats) -> Floats:
    """Cubic polynomial kernel of KID, (x.y / D + 1)^3, [N, M]."""
    inner = np.asarray(x, np.float64) @ np.asarray(y, np.float64).T
    return np.asarray((inner / x.shape[1] + 1) ** 3)


def calibration_error(probabilities: Floats, happened: Floats, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass (arXiv 1904.01685): |share that happened - probability|."""
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(float(happened[part].mean() - probabilities[part].mean())) * len(part) for part in parts]
    return sum(gaps) / len(probabilities)


def ranking(scores: Floats, happened: Floats) -> float:
    """Area under the ROC curve: how often a case that happened scores above one that did not; ties count half."""
    from scipy.stats import rankdata

    positives = int(happened.sum())
    negatives = len(happened) - positives
    if not positives or not negatives:
        return float("nan")
    above = float(rankdata(scores)[happened.astype(bool)].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)

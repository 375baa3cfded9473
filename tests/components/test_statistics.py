"""Metrics against values worked out by hand."""

import numpy as np
import pytest

from components import statistics
from components.statistics import Bootstrap, KernelDistance

NAN = float("nan")


def test_nearest_is_the_smallest_euclidean_distance() -> None:
    distances = statistics.nearest(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 1.0], [3.0, 4.0]]))
    np.testing.assert_allclose(distances, [1.0, 0.0], atol=1e-6)


def test_copies_are_counted_and_honest_pictures_are_not() -> None:
    generator = np.random.default_rng(0)
    training, held_out, honest = (generator.normal(size=(200, 16)) for _ in range(3))
    assert statistics.copies(honest, training, held_out).mean() <= 0.03
    assert statistics.copies(training[:50] + 1e-3, training, held_out).mean() == 1.0


def brute_force_kid(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    n, m = len(x), len(y)
    inner = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return inner + other - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_kid_is_the_unbiased_estimator() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(7, 4)), generator.normal(0.5, 1, size=(9, 4))
    assert statistics.kid(x, y) == pytest.approx(brute_force_kid(x, y))


def test_kid_of_equal_distributions_is_zero_on_average() -> None:
    generator = np.random.default_rng(2)
    values = [statistics.kid(generator.normal(size=(40, 8)), generator.normal(size=(40, 8))) for _ in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0
    assert statistics.kid(generator.normal(size=(40, 8)), generator.normal(1, 1, size=(40, 8))) > 10 * np.std(values)


def test_resampled_kid_is_centred_on_the_sample() -> None:
    """Pairs of one picture with itself would push every resample upwards."""
    generator = np.random.default_rng(3)
    distance = KernelDistance(generator.normal(0.3, 1, size=(60, 8)), generator.normal(size=(60, 8)))
    samples = distance.resampled(Bootstrap(60, 2000).weights)
    assert abs(samples.mean() - distance.value) < 0.1 * samples.std()


def test_one_picture_drawn_again_and_again_says_nothing() -> None:
    distance = KernelDistance(np.eye(3), np.eye(3)[:2])
    assert np.isnan(distance.resampled(np.array([[3.0, 0, 0], [2, 1, 0]]))).tolist() == [True, False]


def test_interval_covers_the_truth_nineteen_times_of_twenty() -> None:
    generator = np.random.default_rng(4)
    hits = 0
    for trial in range(300):
        estimate = Bootstrap(50, 300, trial).mean(generator.binomial(1, 0.8, size=50).astype(float))
        hits += estimate.low <= 0.8 <= estimate.high
    assert 0.88 <= hits / 300 <= 0.99


def test_paired_comparisons_are_narrower_than_unpaired_ones() -> None:
    generator = np.random.default_rng(5)
    teacher = generator.uniform(0.5, 1, size=100)
    student = 0.9 * teacher
    bootstrap = Bootstrap(100)
    ratio = bootstrap.ratio(student, teacher)
    assert ratio.interval == pytest.approx([0.9, 0.9])
    difference = bootstrap.difference(teacher, student)
    assert difference.high - difference.low < 0.2 * (bootstrap.mean(teacher).high - bootstrap.mean(teacher).low)


def test_rows_that_do_not_count_are_left_out() -> None:
    values = np.array([1.0, NAN, 0.0, 1.0])
    estimate = Bootstrap(4, 100).mean(values)
    assert estimate.value == pytest.approx(2 / 3)
    assert 0 <= estimate.low <= estimate.high <= 1
    assert np.isnan(Bootstrap(2, 100).mean(np.array([NAN, NAN])).value)
    assert np.isnan(Bootstrap(2, 100).ratio(np.ones(2), np.zeros(2)).value)


def test_gap_is_zero_for_equal_models_and_one_for_the_base() -> None:
    generator = np.random.default_rng(6)
    reference = generator.normal(size=(80, 8))
    near = KernelDistance(generator.normal(size=(64, 8)), reference)
    far = KernelDistance(generator.normal(1, 1, size=(64, 8)), reference)
    bootstrap = Bootstrap(64, 200)
    assert bootstrap.kid_gap(near, near, far).interval == [0.0, 0.0]
    whole = bootstrap.kid_gap(far, near, far)
    assert whole.value == pytest.approx(1, abs=0.1)
    assert whole.low <= whole.value <= whole.high


def test_equal_seeds_equal_intervals() -> None:
    values = np.random.default_rng(7).uniform(size=30)
    assert Bootstrap(30, 200, 1).mean(values) == Bootstrap(30, 200, 1).mean(values)


def test_a_calibrated_forecast_has_no_error_and_an_overconfident_one_its_excess() -> None:
    happened = np.array([1.0, 0.0] * 150)
    assert statistics.calibration_error(np.full(300, 0.5), happened) == pytest.approx(0.0)
    assert statistics.calibration_error(np.full(300, 0.9), happened) == pytest.approx(0.4)


def test_ranking_counts_pairs_in_order() -> None:
    happened = np.array([1.0, 1.0, 0.0, 0.0])
    assert statistics.ranking(np.array([0.9, 0.8, 0.2, 0.1]), happened) == 1.0
    assert statistics.ranking(np.array([0.1, 0.2, 0.8, 0.9]), happened) == 0.0
    assert statistics.ranking(np.array([0.9, 0.1, 0.5, 0.0]), happened) == pytest.approx(0.75)
    assert statistics.ranking(np.full(4, 0.3), happened) == 0.5
    assert np.isnan(statistics.ranking(np.full(4, 0.3), np.ones(4)))


def test_an_accessory_asked_for_and_asked_away_are_two_figures() -> None:
    """A model that never draws earrings finds nine of ten; the balanced mean says one half."""
    asked = [{"earrings": "no", "skin": "tan"}] * 90 + [{"earrings": "yes", "skin": "tan"}] * 10
    hits = {"earrings": np.array([1.0] * 90 + [0.0] * 10), "skin": np.ones(100)}
    assert statistics.mean(statistics.adherence_of(hits)) == pytest.approx(0.95)
    split = statistics.by_aspect(asked, hits)
    assert {name: statistics.mean(values) for name, values in split.items()} == {
        "earrings=yes": 0.0,
        "earrings=no": 1.0,
        "skin": 1.0,
    }
    assert statistics.balanced(split) == pytest.approx(2 / 3)
    assert statistics.worst(split) == "earrings=yes"


def test_too_few_pictures_are_not_called_the_worst() -> None:
    hits = {"skin": np.array([0.0] * (statistics.LEAST_ASKED - 1)), "tilt": np.array([1.0, 0.0] * 8)}
    hits["skin"] = np.concatenate([hits["skin"], np.full(16 - len(hits["skin"]), np.nan)])
    assert statistics.worst(hits) == "tilt"
    assert statistics.worst({}) is None

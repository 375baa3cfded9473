"""Confidence: learnt from pictures, monotone in what it should follow, calibrated on outcomes it has not seen."""

import random

import numpy as np
import pytest

from components.image.evaluation.confidence import Outcome, fit
from components.portraits.vocabulary import ATTRIBUTES, VOCABULARY
from components.prompting.confidence import Calibration
from components.prompting.schema import Draft, Reading
from components.statistics import calibration_error, ranking

NAMES = ("hair_color", "hair_style", "glasses", "expression", "background")
SHOWN = {"hair_color": 0.95, "hair_style": 0.85, "glasses": 0.97, "expression": 0.7, "background": 0.98}


def outcome(rng: random.Random) -> Outcome:
    """A request of a few attributes; each is read wrong as often as its probability says; the model has its rates."""
    asked = {name: rng.choice(ATTRIBUTES[name]) for name in rng.sample(NAMES, rng.randint(2, 5))}
    readings, shown = [], {}
    for name, value in asked.items():
        probability = rng.choice((0.99, 0.95, 0.6, 0.3))
        right = rng.random() < probability
        others = [other for other in ATTRIBUTES[name] if other != value]
        readings.append(Reading(attribute=name, value=value if right else rng.choice(others), probability=probability))
        shown[name] = rng.random() < (SHOWN[name] if right else 0.05)
    return Outcome(Draft(attributes=tuple(readings)), asked, shown)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    rng = random.Random(1)
    return fit([outcome(rng) for _ in range(1500)], VOCABULARY)


def test_it_is_calibrated_and_ranks_on_new_outcomes(calibration: Calibration) -> None:
    rng = random.Random(2)
    new = [outcome(rng) for _ in range(1500)]
    confidence = np.array([calibration(found.draft) for found in new])
    complete = np.array([float(found.complete) for found in new])
    assert calibration_error(confidence, complete) < 0.08
    assert ranking(confidence, complete) > 0.75


def test_a_doubtful_reading_lowers_it(calibration: Calibration) -> None:
    sure, doubtful = (
        Draft(attributes=(Reading(attribute="hair_color", value="red", probability=p),)) for p in (0.99, 0.3)
    )
    assert calibration(doubtful) < calibration(sure)


def test_an_attribute_that_the_model_draws_badly_lowers_it(calibration: Calibration) -> None:
    good, bad = (
        Draft(attributes=(Reading(attribute=name, value=value),))
        for name, value in (("background", "blue"), ("expression", "smile"))
    )
    assert calibration(bad) < calibration(good)


def test_an_attribute_that_never_counts_changes_nothing(calibration: Calibration) -> None:
    blue = Reading(attribute="background", value="blue")
    clothes = Reading(attribute="clothes_color", value="red")
    assert calibration(Draft(attributes=(blue, clothes))) == calibration(Draft(attributes=(blue,)))


def test_it_survives_a_round_trip_through_json(calibration: Calibration) -> None:
    again = Calibration.model_validate_json(calibration.model_dump_json())
    draft = Draft(attributes=(Reading(attribute="glasses", value="yes", probability=0.8),))
    assert again(draft) == calibration(draft)


def test_pictures_that_all_succeed_leave_room_for_doubt() -> None:
    draft = Draft(attributes=(Reading(attribute="glasses", value="yes"),))
    always = fit([Outcome(draft, {"glasses": "yes"}, {"glasses": True})] * 10, VOCABULARY)
    assert 0.8 < always(draft) < 1.0


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="pictures"):
        fit([], VOCABULARY)

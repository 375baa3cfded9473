"""How likely a picture shows everything that was asked: a raw score, calibrated on pictures that the judge has seen.

Of each attribute that was read we know how sure the reading is (p), how often the model shows the value when it is
asked (r), and how often it is there unasked (c). So it is shown with p r + (1 - p) c, and all of them with the product.
What that leaves out (words nobody understood, attributes that hinder each other) a logistic regression takes up: Platt
scaling with two more inputs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, ValidationError

from components.contracts import CALIBRATION
from components.errors import ModelError
from components.prompting.schema import Draft
from components.recipe import Frozen
from components.settings import PromptClient
from components.vocabulary import ATTRIBUTES

PRIOR = 4.0
"""Pictures' worth of the attribute's own rate that a value's rate begins with."""

Shown = Mapping[str, bool]


@dataclass(frozen=True)
class Outcome:
    """What was read from a request, what was asked, and which of that the picture shows (attributes that count)."""

    draft: Draft
    asked: Mapping[str, str]
    shown: Shown

    @property
    def complete(self) -> bool:
        """Whether everything that was asked is there."""
        return all(self.shown.values())


class Calibration(Frozen):
    """A model's rates and the regression; plain numbers, so that a service needs no training code."""

    rates: Mapping[str, Mapping[str, float]]
    chance: Mapping[str, float]
    weights: tuple[float, float, float]
    bias: float
    pictures: int
    judge: str = Field("", description="Folder of the judge that looked at the pictures; empty: not told.")
    client: PromptClient = Field("lexicon", description="Who read the requests.")

    @classmethod
    def fit(cls, outcomes: Sequence[Outcome]) -> Self:
        """Learn from pictures of the *calibrate* set. Raises ValueError without any."""
        from sklearn.linear_model import LogisticRegression

        if not outcomes:
            raise ValueError("a calibration needs pictures")
        rates, chance = _rates(outcomes)
        start = cls(rates=rates, chance=chance, weights=(1.0, 0.0, 0.0), bias=0.0, pictures=len(outcomes))
        inputs = np.array([start.inputs(outcome.draft) for outcome in outcomes])
        labels = np.array([outcome.complete for outcome in outcomes])
        if labels.all() or not labels.any():  # nothing to tell apart: the share itself, kept off 0 and 1
            share = (labels.sum() + 0.5) / (len(labels) + 1)
            return start.model_copy(update={"weights": (0.0, 0.0, 0.0), "bias": _logit(float(share))})
        found = LogisticRegression(C=10.0, max_iter=1000).fit(inputs, labels)
        weights = tuple(float(value) for value in found.coef_[0])
        return start.model_copy(update={"weights": weights, "bias": float(found.intercept_[0])})

    def inputs(self, draft: Draft) -> tuple[float, float, float]:
        """Logit of the product, words that were not understood, attributes that were read."""
        product = 1.0
        for reading in draft.attributes:
            chance = self.chance.get(reading.attribute, 0.0)
            rate = self.rates.get(reading.attribute, {}).get(reading.value, chance)
            product *= reading.probability * rate + (1.0 - reading.probability) * chance
        return _logit(product), float(len(draft.unread)), float(len(draft.attributes))

    def __call__(self, draft: Draft) -> float:
        """Probability that a picture shows everything that was asked, in (0, 1)."""
        value = self.bias + sum(weight * x for weight, x in zip(self.weights, self.inputs(draft), strict=True))
        return 1.0 / (1.0 + math.exp(-max(min(value, 30.0), -30.0)))


def read_calibration(folder: Path) -> Calibration | None:
    """A model's calibration; None where it has none. Raises ModelError where it is damaged."""
    path = folder / CALIBRATION
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ModelError(f"{str(path)!r} cannot be used: {error}.", hint="Make the model again.") from error


def _rates(outcomes: Sequence[Outcome]) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Attribute -> value -> how often it is shown when it was read right; attribute -> how often when it was not."""
    right: dict[str, dict[str, list[bool]]] = {name: {} for name in ATTRIBUTES}
    wrong: dict[str, list[bool]] = {name: [] for name in ATTRIBUTES}
    for outcome in outcomes:
        read = outcome.draft.asked
        for name, shown in outcome.shown.items():
            if read.get(name) == outcome.asked[name]:
                right[name].setdefault(outcome.asked[name], []).append(shown)
            else:
                wrong[name].append(shown)
    rates = {}
    for name, found in right.items():
        everything = [shown for values in found.values() for shown in values]
        own = (sum(everything) + 1.0) / (len(everything) + 2.0)
        rates[name] = {
            value: (sum(found.get(value, ())) + PRIOR * own) / (len(found.get(value, ())) + PRIOR)
            for value in ATTRIBUTES[name]
        }
    guess = {name: 1.0 / len(values) for name, values in ATTRIBUTES.items()}
    chance = {name: (sum(found) + PRIOR * guess[name]) / (len(found) + PRIOR) for name, found in wrong.items()}
    return rates, chance


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-6), 1.0 - 1e-6)
    return math.log(bounded / (1.0 - bounded))

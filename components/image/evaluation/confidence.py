"""Learning a model's confidence from pictures that the judge has looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from components.prompting.confidence import Calibration, logit
from components.prompting.schema import Draft
from components.prompting.vocabulary import Vocabulary

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


def fit(outcomes: Sequence[Outcome], vocabulary: Vocabulary) -> Calibration:
    """Learn from pictures of the *calibrate* set. Raises ValueError without any."""
    if not outcomes:
        raise ValueError("a calibration needs pictures")
    rates, chance = _rates(outcomes, vocabulary.attributes)
    start = Calibration(rates=rates, chance=chance, weights=(1.0, 0.0, 0.0), bias=0.0, pictures=len(outcomes))
    inputs = np.array([start.inputs(outcome.draft) for outcome in outcomes])
    labels = np.array([outcome.complete for outcome in outcomes])
    if labels.all() or not labels.any():  # nothing to tell apart: the share itself, kept off 0 and 1
        share = (labels.sum() + 0.5) / (len(labels) + 1)
        return start.model_copy(update={"weights": (0.0, 0.0, 0.0), "bias": logit(float(share))})
    found = LogisticRegression(C=10.0, max_iter=1000).fit(inputs, labels)
    weights = tuple(float(value) for value in found.coef_[0])
    return start.model_copy(update={"weights": weights, "bias": float(found.intercept_[0])})


def _rates(
    outcomes: Sequence[Outcome], attributes: Mapping[str, Sequence[str]]
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Attribute -> value -> how often it is shown when it was read right; attribute -> how often when it was not.

    Only attributes that counted on some picture: of the others (clothes that a style does not draw) nothing is known.
    """
    counted = {name for outcome in outcomes for name in outcome.shown}
    right: dict[str, dict[str, list[bool]]] = {name: {} for name in attributes if name in counted}
    wrong: dict[str, list[bool]] = {name: [] for name in right}
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
            for value in attributes[name]
        }
    guess = {name: 1.0 / len(values) for name, values in attributes.items()}
    chance = {name: (sum(found) + PRIOR * guess[name]) / (len(found) + PRIOR) for name, found in wrong.items()}
    return rates, chance

"""How likely a picture shows everything that was asked: a raw score, calibrated on pictures that the judge has seen.

Of each attribute that was read we know how sure the reading is (p), how often the model shows the value when it is
asked (r), and how often it is there unasked (c). So it is shown with p r + (1 - p) c, and all of them with the product.
What that leaves out (words nobody understood, attributes that hinder each other) a logistic regression takes up: Platt
scaling with two more inputs. `components.image.evaluation.confidence` learns it.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from components.contracts import CALIBRATION
from components.errors import ModelError
from components.prompting.schema import Draft
from components.recipe import Frozen
from components.settings import PromptClient


class Calibration(Frozen):
    """A model's rates and the regression: plain numbers, so that a service needs no training code."""

    rates: Mapping[str, Mapping[str, float]]
    chance: Mapping[str, float]
    weights: tuple[float, float, float]
    bias: float
    pictures: int
    judge: str = Field("", description="Digest of the judge that looked at the pictures; empty: not told.")
    client: PromptClient = Field("lexicon", description="Who read the requests.")

    def inputs(self, draft: Draft) -> tuple[float, float, float]:
        """Logit of the product, words that were not understood, attributes that were read; of those that count."""
        product = 1.0
        counting = [reading for reading in draft.attributes if reading.attribute in self.rates]
        for reading in counting:
            chance = self.chance[reading.attribute]
            rate = self.rates[reading.attribute].get(reading.value, chance)
            product *= reading.probability * rate + (1.0 - reading.probability) * chance
        return logit(product), float(len(draft.unread)), float(len(counting))

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


def logit(probability: float) -> float:
    """ln(p / (1 - p)), finite for 0 and 1 too."""
    bounded = min(max(probability, 1e-6), 1.0 - 1e-6)
    return math.log(bounded / (1.0 - bounded))

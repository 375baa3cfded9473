"""Whether a portrait shows what was asked: hits by attribute, where the style can show it."""

from collections.abc import Mapping, Sequence

import numpy as np

from components.portraits.vocabulary import covered, shows
from components.statistics import Floats, Names, adherence_of


def adherence(asked: Sequence[Mapping[str, str]], found: Mapping[str, Names], *styles: str) -> Floats:
    """Per picture, the share of asked attributes that the judge found, [N]; NaN where none counts.

    Args:
        asked: attribute -> value, one mapping a picture.
        found: attribute -> values that the judge saw, [N] each.
        styles: an attribute counts where every one of these styles can show the asked value.
    """
    hits = attribute_hits(asked, found, *styles)
    return adherence_of(hits) if hits else np.full(len(asked), np.nan)


def attribute_hits(asked: Sequence[Mapping[str, str]], found: Mapping[str, Names], *styles: str) -> dict[str, Floats]:
    """Attribute -> [N] of 1 (found), 0 (not found) and NaN (not asked, or it cannot be seen in a style)."""

    def hit(attribute: str, row: int) -> float:
        value = asked[row].get(attribute)
        if value is None or not all(shows(style, attribute, value) for style in styles):
            return np.nan
        if any(attribute in covered(style, asked[row]) for style in styles):
            return np.nan
        return float(found[attribute][row] == value)

    return {attribute: np.array([hit(attribute, row) for row in range(len(asked))]) for attribute in found}


def style_hits(found: Names, style: str) -> Floats:
    """1 where the most likely style is the asked one, else 0, [N]."""
    return np.asarray(np.asarray(found) == style, np.float64)

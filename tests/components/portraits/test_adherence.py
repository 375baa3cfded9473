"""Hits and adherence by hand."""

import numpy as np

from components.portraits import adherence as portraits

NAN = float("nan")


def test_adherence_by_hand() -> None:
    asked = [
        {"hair_color": "red", "glasses": "yes"},  # both found
        {"hair_color": "blue", "hair_style": "long"},  # one of two
        {"clothes_color": "red", "skin": "tan"},  # lorelei wears no clothes: only the skin counts
        {"clothes_color": "red"},  # nothing counts
    ]
    found = {
        "hair_color": np.array(["red", "red", "red", "red"]),
        "hair_style": np.array(["long", "long", "long", "long"]),
        "glasses": np.array(["yes", "yes", "yes", "yes"]),
        "skin": np.array(["fair", "fair", "fair", "fair"]),
        "clothes_color": np.array(["red", "red", "red", "red"]),
    }
    np.testing.assert_array_equal(portraits.adherence(asked, found, "lorelei"), [1.0, 0.5, 0.0, NAN])
    np.testing.assert_array_equal(portraits.adherence(asked, found, "micah"), [1.0, 0.5, 0.5, 1.0])
    np.testing.assert_array_equal(portraits.adherence(asked, found, "micah", "lorelei"), [1.0, 0.5, 0.0, NAN])


def test_a_value_that_a_style_cannot_draw_does_not_count() -> None:
    found = {"hair_style": np.array(["long"])}
    assert np.isnan(portraits.adherence([{"hair_style": "tied"}], found, "micah")).all()
    assert portraits.adherence([{"hair_style": "tied"}], found, "lorelei") == [0.0]


def test_style_hits() -> None:
    np.testing.assert_array_equal(portraits.style_hits(np.array(["lorelei", "micah"]), "lorelei"), [1.0, 0.0])

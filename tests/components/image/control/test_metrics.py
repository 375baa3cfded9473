"""Control metrics on arrays whose figures are known."""

import numpy as np
import pytest

from components.image.control.metrics import (
    CONTROLLED,
    FEW,
    FREE,
    POSE,
    SKETCH,
    control_metrics,
    pose_errors,
    worst_group,
)
from components.image.generation.control.keypoints import KeypointNetwork, KeypointReader
from components.statistics import Bootstrap

GROUPS = ["a", "a", "b", "b"]


def test_less_is_better_for_a_pose() -> None:
    columns = {
        CONTROLLED: np.array([1.0, 3.0, 5.0, 7.0]),
        FREE: np.array([16.0, 16.0, 16.0, 16.0]),
        FEW: np.array([2.0, 6.0, 10.0, 14.0]),
    }
    found = control_metrics(POSE, columns, GROUPS, Bootstrap(4, 200)).values
    assert (found["pose.px"], found["pose.worst"], found["pose.worst_group"]) == (4.0, 6.0, "b")
    assert found["pose.ratio"] == 0.25 and found["pose.without"] == 16.0
    assert found["lcm.pose.px"] == 8.0 and found["lcm.control_ratio"] == 0.5
    low, high = found["pose.px.interval"]
    assert low < 4.0 < high


def test_more_is_better_for_a_sketch() -> None:
    columns = {
        CONTROLLED: np.array([0.9, 0.7, 0.8, 0.6]),
        FREE: np.array([0.3, 0.2, 0.3, 0.2]),
        FEW: np.array([0.9, 0.7, 0.5, 0.3]),
    }
    found = control_metrics(SKETCH, columns, GROUPS, Bootstrap(4, 200)).values
    assert found["sketch.f1"] == pytest.approx(0.75) and found["sketch.ratio"] == pytest.approx(3.0)
    assert found["sketch.worst"] == pytest.approx(0.7) and found["sketch.worst_group"] == "b"
    assert found["lcm.control_ratio"] == pytest.approx(0.8)


def test_without_a_student_nothing_is_said_of_one() -> None:
    columns = {CONTROLLED: np.ones(4), FREE: np.ones(4)}
    assert not [key for key in control_metrics(POSE, columns, GROUPS, Bootstrap(4, 100)).values if "lcm" in key]


def test_of_one_group_the_worst_picture_is_told() -> None:
    values = np.array([1.0, 5.0, 2.0])
    assert worst_group(values, ["", "", ""], less=True) == (5.0, "picture 1")
    assert worst_group(values, ["", "", ""], less=False) == (1.0, "picture 0")


def test_a_picture_that_shows_what_the_reader_reads_has_no_error() -> None:
    from PIL import Image

    reader = KeypointReader(KeypointNetwork())
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    ((face, _),) = reader.read([picture])
    assert pose_errors(reader, [picture], [face]) == pytest.approx([0.0])

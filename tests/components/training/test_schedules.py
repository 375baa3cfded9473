"""Factors on the learning rate at known places."""

import pytest

from components.training.loop import Plan
from components.training.schedules import one_cycle


def test_one_cycle_rises_and_falls() -> None:
    assert one_cycle(0.0) == pytest.approx(0.01)
    assert one_cycle(0.08) == 1.0
    assert one_cycle(1.0) == pytest.approx(0.01)


def test_a_plan_takes_a_schedule_of_ones_own() -> None:
    plan = Plan(steps=10, checkpoint_every=5, learning_rate=2.0, schedule=lambda progress, step: 1.0 - progress)
    assert [plan.rate(step) for step in (0, 5, 10)] == [2.0, 1.0, 0.0]

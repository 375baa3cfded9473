"""Rounds are interleaved, and the factors multiply to the whole."""

import time

import pytest

from components.image.evaluation.benchmark import Speed, Timing, interleaved
from components.runlog import SilentLog


def test_rounds_interleave_after_warm_up() -> None:
    calls: list[str] = []

    def contender(name: str, seconds: float) -> bytes:
        calls.append(name)
        time.sleep(seconds)
        return b""

    draws = {"slow": lambda: contender("slow", 0.02), "fast": lambda: contender("fast", 0.005)}
    timings = interleaved(draws, 7, SilentLog(), few={"slow"})
    assert calls[-4:] == ["slow", "fast", "fast", "fast"]
    assert (len(timings["slow"].rounds), len(timings["fast"].rounds)) == (5, 7)
    assert timings["slow"].median >= 20
    assert timings["slow"].median > timings["fast"].median
    assert timings["fast"].peak_mib > 1


def test_figures() -> None:
    timings = {"lora": Timing((800.0, 790, 900), 1), "lcm4": Timing((160.0,), 1), "served": Timing((40.0,), 1)}
    figures = Speed(timings, "lcm4", "openvino", 0.01).figures()
    assert figures["speed.baseline_ms"] == 800
    assert figures["speed.total"] == pytest.approx(20)
    assert figures["speed.algorithm"] == pytest.approx(5)
    assert figures["speed.engine"] == pytest.approx(4)

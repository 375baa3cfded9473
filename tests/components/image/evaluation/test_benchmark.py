"""Rounds are interleaved, and the factors multiply to the whole."""

import time

import pytest
import torch

from components.image.evaluation.benchmark import Speed, Timing, interleaved, plain_precision
from components.image.families.bundle import Bundle, load_bundle
from components.runlog import SilentLog
from tests.tiny import tiny_model, tiny_sd15


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


def test_one_plain_model_lies_on_the_device_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bundles = {name: load_bundle(tiny_model(tiny_sd15())) for name in ("lora", "lcm4")}
    placed: dict[int, str] = {}
    seen: list[list[str]] = []

    def place(bundle: Bundle, device: torch.device | str) -> None:
        placed[id(bundle)] = str(device)

    def contender() -> bytes:
        seen.append([name for name, bundle in bundles.items() if placed.get(id(bundle)) == "meta"])
        return b""

    for bundle in bundles.values():
        bundle.device = torch.device("meta")
    monkeypatch.setattr("components.image.evaluation.benchmark._place", place)
    interleaved(dict.fromkeys(("lora", "lcm4", "served"), contender), 1, SilentLog(), bundles=bundles)
    warm_up, once = [["lora"], ["lora"], ["lcm4"], ["lcm4"], [], []], [["lora"], ["lcm4"], []]
    assert seen == [*warm_up, *once]


def test_the_baseline_says_how_it_multiplies() -> None:
    assert plain_precision(torch.device("cpu")) == "float32"
    assert plain_precision(torch.device("cuda")) == "float32 (convolutions in TF32)", "torch's own default"
    torch.set_float32_matmul_precision("high")
    try:
        assert "matrix products in TF32" in plain_precision(torch.device("cuda"))
    finally:
        torch.set_float32_matmul_precision("highest")


def test_metrics() -> None:
    timings = {"lora": Timing((800.0, 790, 900), 1), "lcm4": Timing((160.0,), 1), "served": Timing((40.0,), 1)}
    metrics = Speed(timings, "lcm4", "openvino", 0.01).metrics()
    assert metrics["speed.baseline_ms"] == 800
    assert metrics["speed.total"] == pytest.approx(20)
    assert metrics["speed.algorithm"] == pytest.approx(5)
    assert metrics["speed.engine"] == pytest.approx(4)

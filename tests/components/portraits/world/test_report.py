"""What `python -m flows.embedded --report` says: every mean has its worst beside it."""

import random
from pathlib import Path

import pytest
import torch
from PIL import Image

from components.image.promptset import PromptItem
from components.portraits.judge import Judge, JudgeNetwork
from components.portraits.world import autoencoder as ae
from components.portraits.world import base
from components.portraits.world import judge_training as training
from components.portraits.world.renders import meant, render, sample_portrait, sample_portraits
from components.portraits.world.report import Report, StyleReport, grid, measure
from components.portraits.world.training import Budget

ITEMS = (
    PromptItem("blue hair, smile", {"hair_color": "blue", "expression": "smile"}, 1),
    PromptItem("earrings, glasses", {"earrings": "yes", "glasses": "yes"}, 2),
)


def shown(item: PromptItem, style: str = "micah") -> Image.Image:
    return meant(item.attributes, style, item.seed)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    torch.manual_seed(0)
    network = JudgeNetwork(training.HEADS, width=8, features=16)
    folder = tmp_path_factory.mktemp("judge")
    return Judge.load(training.save_judge(network, folder, {"style": 0.2}, width=8, features=16))


def test_a_base_is_asked_in_every_style(judge: Judge, tmp_path: Path) -> None:
    portraits = sample_portraits(8, seed=3)
    folder = base.train_base(
        torch.randn(8, 4, 4, 4),
        torch.zeros(8, 32, 32, dtype=torch.uint8),
        portraits,
        ae.make_autoencoder(width=8),
        tmp_path,
        Budget(steps=1),
        batch=2,
        make=lambda: base.make_unet(channels=(16, 16), size=4, groups=8),
        report=lambda _: None,
    )
    found = measure(folder, judge, ITEMS, styles=("micah", "lorelei"), steps=2)
    assert [part.style for part in found.parts] == ["micah", "lorelei"]
    side = found.parts[0].pictures[0].width
    with Image.open(grid(found, tmp_path / "grid.png", columns=2)) as sheet:
        assert sheet.size == (2 * side, 4 * side)


def test_every_mean_has_its_worst_beside_it(judge: Judge) -> None:
    pictures = tuple(shown(item) for item in ITEMS)
    part = StyleReport("micah", ITEMS, pictures, judge.look(list(pictures)))
    metrics = Report(judge, (part,)).summary()
    assert {"adherence", "balanced", "worst", "style", "style.worst", "soundness", "soundness.worst"} < set(metrics)
    assert set(metrics["attributes"]) == {"hair_color", "expression", "earrings=yes", "glasses=yes"}
    assert metrics["worst"] is None, "too few pictures to call an attribute the worst one"
    value, low, high = metrics["soundness"]
    assert low <= value <= high
    assert metrics["styles"]["micah"]["soundness"] == metrics["soundness"]


def test_what_is_meant_is_drawn_where_the_style_can_show_it() -> None:
    assert shown(ITEMS[1], "toon-head").size == (128, 128)
    assert shown(ITEMS[0]).tobytes() == shown(ITEMS[0]).tobytes()
    plain = render(sample_portrait(random.Random(1), "micah"))
    assert shown(ITEMS[0]).tobytes() != plain.tobytes()

"""The judge at a tiny size: it learns, keeps what it learnt, and says clearly when it cannot."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from components.contracts import PointingJudge
from components.errors import ModelError
from components.portraits.judge import STYLE, Judge, JudgeNetwork
from components.portraits.plugin import PortraitJudge
from components.portraits.vocabulary import ATTRIBUTES, STYLES, shows
from components.portraits.world import judge_training as training
from components.portraits.world.renders import Portrait, render, sample_portraits
from components.portraits.world.training import Budget


@pytest.fixture(scope="module")
def portraits() -> list[Portrait]:
    return sample_portraits(8, seed=5, styles=("adventurer", "toon-head", "lorelei", "micah"))


@pytest.fixture(scope="module")
def images(portraits: list[Portrait]) -> torch.Tensor:
    pictures = np.stack([np.asarray(render(portrait)) for portrait in portraits])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module")
def judge(portraits: list[Portrait], images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = tmp_path_factory.mktemp("judge")
    budget = Budget(steps=12)
    network = training.train_judge(
        images, portraits, folder / "work", budget, batch=8, width=8, features=16, report=lambda _: None
    )
    measured = training.accuracy(network, images, portraits)
    return Judge.load(training.save_judge(network, folder / "out", measured, width=8, features=16))


def test_the_judge_learns(portraits: list[Portrait], images: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = JudgeNetwork(training.HEADS, width=8, features=16)
    answers = training.labels(portraits)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        value = training.judge_loss(network, training.to_signed(images), answers)
        losses.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_labels_are_unknown_where_the_style_cannot_show(portraits: list[Portrait]) -> None:
    answers = training.labels(portraits)
    for row, portrait in enumerate(portraits):
        for attribute in ATTRIBUTES:
            assert (answers[attribute][row] == training.UNKNOWN) is not shows(portrait.style, attribute) or shows(
                portrait.style, attribute
            )
        assert STYLES[int(answers[STYLE][row])] == portrait.style


def test_a_verdict_holds_words_and_tables(judge: Judge, images: torch.Tensor) -> None:
    pictures = images.permute(0, 2, 3, 1).numpy()
    verdict = judge.look(pictures)
    assert set(verdict.attributes) == set(ATTRIBUTES)
    assert all(set(found) <= set(ATTRIBUTES[name]) for name, found in verdict.attributes.items())
    assert set(verdict.style) <= set(STYLES)
    assert verdict.features.shape == (8, 16)
    assert verdict.features.dtype == np.float32
    np.testing.assert_allclose(verdict.probabilities["skin"].sum(1), 1.0, atol=1e-5)


def test_batches_and_kinds_of_input_do_not_matter(judge: Judge, images: torch.Tensor) -> None:
    pictures = images.permute(0, 2, 3, 1).numpy()
    whole = judge.look(pictures)
    parts = judge.look([Image.fromarray(picture) for picture in pictures], batch=3)
    np.testing.assert_allclose(whole.features, parts.features, atol=1e-4)


def test_other_sizes_are_brought_to_its_own(judge: Judge) -> None:
    assert judge.look([Image.new("RGBA", (50, 70), "red")]).style.shape == (1,)
    assert judge.look(np.zeros((2, 64, 64, 3), np.uint8)).style.shape == (2,)


def test_it_states_its_accuracy_and_name(judge: Judge) -> None:
    assert 0.0 <= judge.mean_accuracy <= 1.0
    assert set(judge.accuracy) == set(training.HEADS)
    assert len(judge.digest) == 64


def test_damage_spares_the_first_quarter_and_keeps_the_shape(images: torch.Tensor) -> None:
    sample = training.to_signed(images)
    worse = training.damaged(sample, torch.Generator().manual_seed(0), decode=lambda part: part * 0.9)
    assert torch.equal(worse[:2], sample[:2])
    assert not torch.equal(worse[2:], sample[2:])
    assert worse.shape == sample.shape
    assert (worse - sample).abs().mean() < 0.2


def test_a_reference_is_made_of_held_out_renders(judge: Judge, tmp_path: Path) -> None:
    path = training.build_reference(judge, tmp_path, "lorelei", count=3)
    features = load_file(path)["features"]
    assert features.shape == (3, 16)
    assert features.dtype == torch.float16


def test_a_missing_judge_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No usable judge"):
        Judge.load(tmp_path)


def test_no_pictures_is_one_clear_error(judge: Judge) -> None:
    with pytest.raises(ModelError, match="no picture"):
        judge.look([])


def test_the_judge_points_at_what_decides(judge: Judge) -> None:
    picture = Image.new("RGB", (100, 60), "white")
    found = judge.saliency(picture, {"expression": "frown"})
    assert found.shape == (60, 100) and found.min() >= 0 and found.max() == pytest.approx(1)
    assert np.array_equal(found, judge.saliency(picture, {"expression": "frown"}))
    assert not np.array_equal(found, judge.saliency(picture, {"background": "blue"}))
    assert all(parameter.grad is None for parameter in judge.network.parameters())
    assert isinstance(PortraitJudge(judge), PointingJudge)
    for wrong in ({"wings": "two"}, {"expression": "furious"}, {}):
        with pytest.raises(ModelError, match="no head"):
            judge.saliency(picture, wrong)


def test_saliency_is_where_a_network_looks() -> None:
    """A network that reads its left half alone."""

    class LeftHalf(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            left = self.weight * images[..., :16].mean((1, 2, 3))
            return left[:, None], {"mood": torch.stack([left, -left], 1), STYLE: left[:, None]}

    config = {"heads": {"mood": ["good", "bad"], STYLE: ["one"]}, "size": 32, "accuracy": {"mood": 1.0}}
    found = Judge(LeftHalf(), config, "digest").saliency(Image.new("RGB", (32, 32)), {"mood": "bad"})  # type: ignore[arg-type]
    assert found[:, :15].min() > 0.9 and found[:, 17:].max() < 1e-6

"""Similarity and reconstruction by hand, rows and plots."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.image.evaluation import plots
from components.image.evaluation.metrics import copied_lines, psnr, similarity, variant_rows
from components.statistics import Bootstrap


def noise(seed: int, count: int = 6) -> list[Image.Image]:
    generator = np.random.default_rng(seed)
    return [Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(count)]


def test_similarity_is_one_for_the_same_and_zero_for_others() -> None:
    bootstrap = Bootstrap(6, 100)
    assert similarity(noise(0), noise(0), bootstrap).value == pytest.approx(1)
    assert similarity(noise(0), noise(1), bootstrap).value == pytest.approx(0, abs=0.05)
    turned = noise(0)[1:] + noise(0)[:1]
    assert similarity(turned, noise(0), bootstrap).value < 0


def test_what_all_pictures_share_counts_for_nothing() -> None:
    """A face in the middle of every picture makes two prompts alike, not a student faithful."""
    face = np.zeros((32, 32, 3))
    face[8:24, 8:24] = 200

    def portraits(seed: int) -> list[Image.Image]:
        return [Image.fromarray((0.2 * np.asarray(each) + face).astype(np.uint8)) for each in noise(seed, 12)]

    assert similarity(portraits(0), portraits(1), Bootstrap(12, 100)).value == pytest.approx(0, abs=0.1)


def test_a_copy_in_other_colours_is_a_copy() -> None:
    learnt = [picture.resize((64, 64), Image.Resampling.BICUBIC) for picture in noise(0, 12)]
    turned = [Image.fromarray(255 - np.asarray(picture)) for picture in learnt[:3]]
    new = [picture.resize((64, 64), Image.Resampling.BICUBIC) for picture in noise(1, 3)]
    assert copied_lines([*turned, *new], learnt).tolist() == [1, 1, 1, 0, 0, 0]


def test_psnr_by_hand() -> None:
    flat = np.zeros((2, 3, 4, 4))
    np.testing.assert_allclose(psnr(flat, flat + np.array([0.1, 0.01]).reshape(2, 1, 1, 1)), [20, 40])


def test_rows_have_equal_columns() -> None:
    metrics = {
        "base.adherence": 0.9,
        "lora.adherence": 0.8,
        "lora.copying": 0.0,
        "lora.adherence.interval": [0, 1],
        "base.only": 1.0,
    }
    assert variant_rows(["base", "lora"], metrics) == [
        {"variant": "base", "adherence": 0.9, "copying": None, "only": 1.0},
        {"variant": "lora", "adherence": 0.8, "copying": 0.0, "only": None},
    ]


def test_plots_are_written(tmp_path: Path) -> None:
    metrics = {
        "lcm1.adherence": 0.5,
        "lcm4.adherence": 0.9,
        "lcm4.adherence.interval": [0.85, 0.95],
        "lora.adherence": 1.0,
    }
    plots.by_steps(tmp_path / "a" / "steps.png", metrics, (1, 2, 4))
    plots.by_attribute(tmp_path / "bars.png", {"base": {"hair": 0.9}, "lora": {"hair": 0.8, "skin": 1.0}})
    plots.latency(tmp_path / "ms.png", {"lora": 100.0, "served": 8.0})
    assert all(Image.open(path).convert("L").width > 300 for path in tmp_path.rglob("*.png"))

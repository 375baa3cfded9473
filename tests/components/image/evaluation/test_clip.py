"""CLIP as a judge, on a tiny random model of the real classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from components.errors import ModelError
from components.image.evaluation.clip import likeness, open_judge
from components.image.recipe import JudgeConfig
from tests.tiny import tiny_sd15


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clip")
    tokenizer = CLIPTokenizer.from_pretrained(tiny_sd15() / "tokenizer")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CLIPTextConfig(vocab_size=len(tokenizer), **small, eos_token_id=tokenizer.eos_token_id)
    vision = CLIPVisionConfig(image_size=32, patch_size=8, **small)
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    CLIPModel(config).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def pictures(count: int) -> list[Image.Image]:
    noise = np.random.default_rng(0)
    return [Image.fromarray(noise.integers(0, 255, (40, 24 + 8 * row, 3), dtype=np.uint8)) for row in range(count)]


def test_it_scores_prompts_and_training_pictures(folder: Path) -> None:
    judge = open_judge(JudgeConfig(plugin="clip", folder=str(folder)), {"judge": folder})
    verdict = judge.look(pictures(5), batch=2)
    np.testing.assert_allclose(np.linalg.norm(verdict.features, axis=1), 1, atol=1e-5)
    scores = judge.scores(verdict, ["a girl"] * 5, verdict.features)
    assert set(scores) == {"alignment", "likeness"} and all(len(values) == 5 for values in scores.values())
    assert np.abs(scores["alignment"]).max() <= 1 + 1e-6 and scores["likeness"].min() >= 1, "copies are likest"
    assert judge.hits(verdict, [{}] * 5) == {} and len(judge.digest) == 64


def test_likeness_by_hand() -> None:
    training = np.eye(3)[[0, 0, 1]]  # cosines among them: 1, 0, 0; the nearest of each: 1, 1, 0
    found = likeness(np.array([[1.0, 0, 0], [0, 0, 1.0]]), training)
    np.testing.assert_allclose(found, [(1 - 1 / 3) / (2 / 3 - 1 / 3), (0 - 1 / 3) / (2 / 3 - 1 / 3)])
    assert np.isnan(likeness(np.eye(3), np.eye(3)[:2])).all()


def test_what_is_no_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_judge(JudgeConfig(plugin="clip", folder=str(tmp_path)), {"judge": tmp_path})
    with pytest.raises(ModelError, match="needs a model"):
        open_judge(JudgeConfig(plugin="clip"), {})

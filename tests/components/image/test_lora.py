"""Attaching LoRAs."""

from typing import Any

import pytest
import torch

from components.errors import ModelError
from components.image.families.bundle import load_bundle
from components.image.lora import attach
from components.runlog import SilentLog
from tests.tiny import tiny_model, tiny_sd15


class Warnings(SilentLog):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def unet() -> Any:
    return load_bundle(tiny_model(tiny_sd15())).unet


def test_only_the_lora_is_trainable_and_starts_without_effect(unet: Any) -> None:
    inputs = (torch.ones(1, 4, 8, 8), 10, torch.ones(1, 77, 32))
    before = unet(*inputs).sample
    adapter = attach(unet, rank=4, alpha=8, targets="attention", seed=0, log=SilentLog())
    assert torch.equal(unet(*inputs).sample, before)
    trainable = [name for name, value in unet.named_parameters() if value.requires_grad]
    assert len(trainable) == len(adapter.parameters)
    assert all(".lora_" in name for name in trainable)
    module = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    assert adapter.parameters[f"{module}.lora_A.weight"].shape == (4, 32)


def test_the_initial_matrices_come_from_the_seed() -> None:
    def matrices(seed: int) -> torch.Tensor:
        unet = load_bundle(tiny_model(tiny_sd15())).unet
        adapter = attach(unet, rank=4, alpha=8, targets="attention", seed=seed, log=SilentLog())
        return torch.cat([value.flatten() for value in adapter.parameters.values()])

    assert torch.equal(matrices(1), matrices(1))
    assert not torch.equal(matrices(1), matrices(2))


def test_all_reaches_convolutions_and_keeps_them_float32(unet: Any) -> None:
    adapter = attach(unet.bfloat16(), rank=2, alpha=2, targets="all", seed=0, log=SilentLog())
    assert "down_blocks.0.resnets.0.conv1.lora_A.weight" in adapter.parameters
    assert "up_blocks.0.upsamplers.0.conv.lora_B.weight" in adapter.parameters
    assert {value.dtype for value in adapter.parameters.values()} == {torch.float32}


def test_a_target_without_effect_warns(unet: Any) -> None:
    log = Warnings()
    attach(unet, rank=2, alpha=2, targets=("to_q", "to_qq"), seed=0, log=log)
    assert log.texts == ["LoRA target 'to_qq' matches no layer of the UNet and has no effect."]


def test_targets_that_match_nothing_at_all_are_refused(unet: Any) -> None:
    with pytest.raises(ModelError, match=r"'to_qq'.* match no layer.*attention, all"):
        attach(unet, rank=2, alpha=2, targets=("to_qq",), seed=0, log=SilentLog())


def test_weights_of_another_adapter_are_refused(unet: Any) -> None:
    adapter = attach(unet, rank=2, alpha=2, targets=("to_q",), seed=0, log=SilentLog())
    with pytest.raises(ModelError, match="belong to another model"):
        adapter.load({"to_k.lora_A.weight": torch.zeros(2, 2)})

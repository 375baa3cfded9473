"""The forward process in closed form, and both families on tiny real models."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from components.errors import ModelError
from components.image.families.bundle import Condition, load_bundle, pick_dtype
from components.image.families.schedule import NoiseSchedule
from components.image.recipe import ModelConfig
from tests.tiny import tiny_model, tiny_sd15, tiny_sdxl

ALPHAS = torch.tensor([0.99, 0.5, 0.0])


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_target_gives_back_x0_and_noise(prediction: str) -> None:
    schedule = NoiseSchedule(ALPHAS, prediction)
    x0, noise, t = torch.randn(2, 1, 2, 2), torch.randn(2, 1, 2, 2), torch.tensor([0, 1])
    xt, target = schedule.add_noise(x0, noise, t), schedule.target(x0, noise, t)
    torch.testing.assert_close(schedule.x0(target, xt, t), x0, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(schedule.eps(target, xt, t), noise, atol=1e-4, rtol=1e-4)


def test_v_prediction_is_sound_at_zero_terminal_snr() -> None:
    schedule = NoiseSchedule(ALPHAS, "v_prediction")
    x0, noise, last = torch.randn(1, 1, 2, 2), torch.randn(1, 1, 2, 2), torch.tensor([2])
    target = schedule.target(x0, noise, last)
    torch.testing.assert_close(target, -x0)
    torch.testing.assert_close(schedule.x0(target, noise, last), x0)
    assert schedule.snr(last).item() == 0


def test_unknown_prediction_type_is_refused() -> None:
    with pytest.raises(ModelError, match="'flow' is not supported"):
        NoiseSchedule.from_config({"prediction_type": "flow"})


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_a_family_encodes_predicts_and_decodes(make: Callable[[], Path]) -> None:
    bundle = load_bundle(tiny_model(make()))
    condition = bundle.encode_prompts(["a girl", ""])
    latents = bundle.encode_images(torch.zeros(2, 3, 32, 32))
    output = bundle.predict(latents, torch.tensor([5, 900]), condition)
    assert output.shape == latents.shape
    assert (condition.pooled is not None) == (bundle.family.name == "sdxl")
    pictures = bundle.decode_latents(output)
    assert pictures.shape == (2, 3, 32, 32)
    assert 0 <= pictures.min() <= pictures.max() <= 1


def test_conditions_batch_and_expand() -> None:
    one = Condition(torch.zeros(1, 4, 2), torch.ones(1, 3))
    both = Condition.cat([one, one.expand(2)])
    assert (len(both), both.hidden.shape) == (3, (3, 4, 2))
    assert both.pooled is not None
    assert both.pooled.shape == (3, 3)


def test_wrong_family_and_missing_base_say_what_to_do() -> None:
    with pytest.raises(ModelError, match="is not of family 'sdxl'"):
        load_bundle(ModelConfig(family="sdxl", base=str(tiny_sd15())))
    with pytest.raises(ModelError, match="dvc pull"):
        load_bundle(ModelConfig(base="data/nothing-here"))


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_that_only_emulates_bfloat16_gets_float16(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert pick_dtype("auto", torch.device("cuda")) is expected
    assert pick_dtype("auto", torch.device("cpu")) is torch.float32
    assert pick_dtype("bfloat16", torch.device("cuda")) is torch.bfloat16


def test_the_decoder_keeps_its_precision_in_a_half_precision_model() -> None:
    whole = tiny_model(tiny_sd15())
    half = load_bundle(whole.model_copy(update={"dtype": "bfloat16"}))
    for found, expected in zip(half.vae.parameters(), load_bundle(whole).vae.parameters(), strict=True):
        assert torch.equal(found, expected)

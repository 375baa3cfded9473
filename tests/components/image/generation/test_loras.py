"""LoRAs by request and by tag: one UNet, weighed, mixed, taken off without a trace."""

import shutil

import numpy as np
import pytest
import torch

from components.errors import RequestError
from components.image.generation import loras
from components.image.generation.latent import load_variant
from components.image.generator import GenerateRequest
from components.settings import settings
from tests.components.image.generation.pictures import seen
from tests.promoted import _adapter as adapter
from tests.tiny import tiny_model, tiny_sd15, tiny_sdxl


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("KYARA_LORAS", str(tmp_path / "loras"))
    settings.cache_clear()
    adapter(tiny_sd15(), tmp_path / "loras" / "one", 5)
    adapter(tiny_sd15(), tmp_path / "loras" / "two", 6)
    return tmp_path / "loras"


def drawn(generator, prompt="a", **fields):
    return generator.answer(GenerateRequest(prompt=prompt, seed=1, raw=True, **fields))


def test_a_lora_changes_the_picture_and_leaves_no_trace(tiny_generator, shelf):
    plain = drawn(tiny_generator)
    with_one, tagged = drawn(tiny_generator, loras={"one": 0.8}), drawn(tiny_generator, "a, <lora:one:0.8>")
    assert np.array_equal(seen(with_one), seen(tagged)) and not np.array_equal(seen(with_one), seen(plain))
    assert drawn(tiny_generator).content == plain.content
    assert tagged.metadata["loras"] == {"one": 0.8} and tagged.metadata["prompt"] == "kyarachar, a"
    assert np.array_equal(seen(drawn(tiny_generator, loras={"one": 0.0})), seen(plain))


def test_weights_add_up_as_merged_ones_would(shelf):
    """Both LoRAs at their weights give the output of a UNet into which they were merged."""
    bundle, merged = load_variant(tiny_model(tiny_sd15())), load_variant(tiny_model(tiny_sd15()))
    from components.image.lora import fuse

    fuse(merged.unet, shelf / "one", 0.7)
    fuse(merged.unet, shelf / "two", -1.5)
    x, condition, t = torch.randn(1, 4, 8, 8), bundle.encode_prompts(["a"]), torch.tensor([500])
    engine = loras.PlainEngine.of(bundle)
    with torch.no_grad():
        plain = engine.predict(x, t, condition)
        with engine.using(loras.chosen({"one": 0.7, "two": -1.5})) as both:
            torch.testing.assert_close(both.predict(x, t, condition), merged.predict(x, t, condition))
        assert torch.equal(engine.predict(x, t, condition), plain)


def test_there_is_one_unet(tiny_generator, shelf):
    unet = tiny_generator.bundle.unet
    before = {name: value.data_ptr() for name, value in unet.named_parameters() if "lora" not in name}
    drawn(tiny_generator, loras={"one": 1, "two": 0.5})
    held = {value.data_ptr() for name, value in unet.named_parameters() if "lora" not in name}
    assert set(before.values()) == held and tiny_generator.plain.bundle.unet is unet


@pytest.mark.parametrize("base", [tiny_sd15, tiny_sdxl])
def test_files_in_kohyas_form_are_read(base, shelf, tmp_path):
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file

    from components.image.export import kohya_state
    from components.image.lora import fuse

    bundle, merged = load_variant(tiny_model(base())), load_variant(tiny_model(base()))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
        made = get_peft_model(load_variant(tiny_model(base())).unet, config)
    made.save_pretrained(str(tmp_path / "peft"))
    weights = {
        name.removeprefix("base_model.model.").replace(".default.", "."): value
        for name, value in made.named_parameters()
        if "lora_" in name
    }
    state = kohya_state(weights, 2, bundle.family, int(bundle.unet.config.layers_per_block))
    text = {
        f"lora_te{'1' if base is tiny_sdxl else ''}_text_model_encoder_layers_0_self_attn_q_proj.{name}": value
        for name, value in (("lora_down.weight", torch.ones(4, 32)), ("lora_up.weight", torch.ones(32, 4)))
    }
    save_file(state | text, shelf / "kohya.safetensors")
    fuse(merged.unet, tmp_path / "peft", 0.5)
    x, condition, t = torch.randn(1, 4, 8, 8), bundle.encode_prompts(["a"]), torch.tensor([500])
    engine, asked = loras.PlainEngine.of(bundle), loras.chosen({"kohya": 0.5})
    with torch.no_grad(), engine.using(asked) as changed:
        torch.testing.assert_close(changed.predict(x, t, condition), merged.predict(x, t, condition))
    assert engine.partly(asked) == ["LoRA 'kohya' is used in part: the text encoder's is left out."]


def test_a_lora_of_another_base_or_no_lora_is_refused_and_the_model_goes_on(tiny_generator, shelf):
    from safetensors.torch import save_file

    plain = drawn(tiny_generator)
    (shelf / "text.safetensors").write_text("hello", encoding="utf-8")
    save_file({"weight": torch.ones(2)}, shelf / "other.safetensors")
    state = {
        f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_{side}.weight": torch.ones(*shape)
        for side, shape in (("down", (4, 320)), ("up", (320, 4)))
    }
    save_file(state, shelf / "wide.safetensors")
    for name in ("text", "other", "wide"):
        with pytest.raises(RequestError, match=f"LoRA '{name}' does not fit this model"):
            drawn(tiny_generator, loras={name: 1})
    with pytest.raises(RequestError, match="LoRA 'wide' does not fit this model"):
        drawn(tiny_generator, loras={"one": 1, "wide": 1})
    assert drawn(tiny_generator).content == plain.content
    assert not np.array_equal(seen(drawn(tiny_generator, loras={"one": 1})), seen(plain))


@pytest.mark.parametrize(
    ("prompt", "fields", "said"),
    [
        ("a <lora:three>", {}, "LoRA 'three' is unknown. Known: one, two"),
        ("a", {"loras": {"../one": 1}}, "unknown"),
        ("a <lora:one:heavy>", {}, "tag '<lora:one:heavy>' is wrong"),
        ("a <lora:one:99>", {}, "tag .* is wrong"),
        ("a <lora::1>", {}, "tag .* is wrong"),
        ("a", {"loras": {"one": 5}}, r"loras\.one"),
        ("a", {"loras": {str(number): 1 for number in range(9)}}, "loras"),
    ],
)
def test_wrong_names_and_weights(tiny_generator, shelf, prompt, fields, said):
    with pytest.raises(RequestError, match=said):
        drawn(tiny_generator, prompt, **fields)


def test_a_file_that_changes_is_loaded_again(tiny_generator, shelf):
    first = drawn(tiny_generator, loras={"one": 1})
    shutil.rmtree(shelf / "one")
    adapter(tiny_sd15(), shelf / "one", 9)
    assert not np.array_equal(seen(drawn(tiny_generator, loras={"one": 1})), seen(first))


def test_only_the_last_used_stay_loaded(tiny_generator, shelf, monkeypatch):
    monkeypatch.setattr(loras, "KEPT", 1)
    one = drawn(tiny_generator, loras={"one": 1})
    drawn(tiny_generator, loras={"two": 1})
    assert len(tiny_generator.bundle.unet.peft_config) <= 2
    assert drawn(tiny_generator, loras={"one": 1}).content == one.content


def test_requests_that_interleave_keep_their_own(tiny_generator, shelf):
    """Step by step in turn: one without LoRAs, two with others."""
    asked = [GenerateRequest(prompt="a", seed=1, raw=True, loras=each) for each in ({}, {"one": 1}, {"two": 0.5})]
    alone = [tiny_generator.answer(each).content for each in asked]
    running = [tiny_generator.run(each) for each in asked]
    events = list(zip(*running, strict=True))
    assert [event.content for event in events[-1]] == alone

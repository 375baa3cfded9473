"""Drawing with real pipelines' classes: agreement with diffusers, seeds, variants."""

import json

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from peft import LoraConfig, get_peft_model

from components.errors import ModelError
from components.image.generation.latent import initial_noise, load_variant, pictures, sample
from tests.tiny import tiny_model, tiny_sd15, tiny_sdxl

PROMPTS = ["a girl", "b, blue hair", "c"]


def arrays(images):
    return [np.asarray(image).astype(int) for image in images]


@pytest.fixture(scope="module")
def bundle():
    return load_variant(tiny_model(tiny_sd15(v_prediction=True)))


@pytest.mark.parametrize("negative", ["bad", ""])
@pytest.mark.parametrize("base", [lambda: tiny_sd15(), lambda: tiny_sd15(v_prediction=True), lambda: tiny_sdxl()])
def test_draws_what_diffusers_draws(base, negative):
    """An equal seed gives the picture of the plain diffusers pipeline."""
    folder = base()
    xl = (folder / "text_encoder_2").is_dir()
    pipeline = (StableDiffusionXLPipeline if xl else StableDiffusionPipeline).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    generator = torch.Generator().manual_seed(5)
    theirs = pipeline(
        "a girl",
        negative_prompt=negative or None,
        num_inference_steps=4,
        guidance_scale=3.0,
        generator=generator,
        height=32,
        width=32,
    ).images
    ours = pictures(load_variant(tiny_model(folder)), ["a girl"], [5], steps=4, guidance=3.0, negative=negative)
    assert np.abs(arrays(ours)[0] - arrays(theirs)[0]).max() <= 1


def test_consistency_sampling_draws_what_diffusers_draws(bundle):
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd15(v_prediction=True))
    pipeline.set_progress_bar_config(disable=True)
    config = {key: value for key, value in pipeline.scheduler.config.items() if key != "timestep_spacing"}
    pipeline.scheduler = LCMScheduler.from_config(config)
    generator = torch.Generator().manual_seed(5)
    theirs = pipeline(
        "a girl", num_inference_steps=4, guidance_scale=1.0, generator=generator, height=32, width=32
    ).images
    ours = pictures(bundle, ["a girl"], [5], steps=4, kind="lcm")
    assert np.abs(arrays(ours)[0] - arrays(theirs)[0]).max() <= 1


@pytest.mark.parametrize("kind", ["ddim", "lcm"])
def test_a_seed_gives_its_picture_in_any_batch(bundle, kind):
    together = arrays(pictures(bundle, PROMPTS, [1, 0, 2**32 - 1], steps=3, guidance=2.0, kind=kind, batch_size=2))
    for prompt, seed, picture in zip(PROMPTS, [1, 0, 2**32 - 1], together, strict=True):
        alone = arrays(pictures(bundle, [prompt], [seed], steps=3, guidance=2.0, kind=kind))[0]
        assert np.abs(alone - picture).max() <= 1
    assert np.abs(together[0] - together[1]).max() > 1


def test_a_long_prompt_is_read_to_its_end_and_changes_no_other_picture(bundle):
    """The tiny tokenizer makes a token a letter; what follows the first 75 counts, beside short prompts too."""
    long = "girl, " * 20
    drawn = arrays(pictures(bundle, ["a", long, long + "hat"], [1, 1, 1], steps=2, guidance=2.0))
    assert np.abs(drawn[0] - arrays(pictures(bundle, ["a"], [1], steps=2, guidance=2.0))[0]).max() <= 1
    assert np.abs(drawn[1] - drawn[2]).max() > 1


def test_guidance_one_asks_once(bundle):
    asked = []

    def predict(latents, t, condition, guidance):
        asked.append(len(latents))
        return bundle.predict(latents, t, condition, guidance)

    noise = initial_noise(bundle, [0], 32, 32)
    condition = bundle.encode_prompts(["a"])
    for guidance in (1.0, 2.0):
        done = [
            n
            for n, _ in sample(
                bundle, condition, condition, noise=noise, steps=2, guidance=guidance, seeds=[0], predict=predict
            )
        ]
        assert done == [1, 2]
    assert asked == [1, 1, 2, 2]


def test_other_sizes_and_progress(bundle):
    seen = []
    images = pictures(
        bundle,
        PROMPTS,
        [1, 2, 3],
        steps=1,
        guidance=1.0,
        size=(64, 32),
        batch_size=2,
        progress=lambda *at: seen.append(at),
    )
    assert [image.size for image in images] == [(64, 32)] * 3
    assert seen == [(2, 3), (3, 3)]


def adapter(folder, base, seed):
    """A random peft adapter; B is not zero, so it has an effect."""
    torch.manual_seed(seed)
    model = get_peft_model(
        load_variant(tiny_model(base)).unet, LoraConfig(r=4, target_modules=["to_q", "conv1"], init_lora_weights=False)
    )
    model.save_pretrained(folder)
    return folder


def test_adapters_are_fused_one_after_the_other(tmp_path):
    base = tiny_sd15()
    lora, lcm = adapter(tmp_path / "lora", base, 0), tmp_path / "lcm"
    adapter(lcm / "lcm_lora", base, 1)
    facts = {"mode": "lora", "steps": 4, "guidance": 4.0, "solver_steps": 50, "timestep_scaling": 10.0}
    (lcm / "metadata.json").write_text(json.dumps(facts))
    plain, with_lora, student = (
        load_variant(tiny_model(base), **parts) for parts in ({}, {"lora": lora}, {"lora": lora, "lcm": lcm})
    )
    assert student.lcm == facts and not with_lora.lcm
    weights = [dict(bundle.unet.named_parameters()) for bundle in (plain, with_lora, student)]
    assert weights[0].keys() == weights[1].keys() == weights[2].keys()
    name = next(name for name in weights[0] if name.endswith("to_q.weight"))
    deltas = [weights[1][name] - weights[0][name], weights[2][name] - weights[1][name]]
    assert min(delta.abs().max() for delta in deltas) > 1e-3
    assert (deltas[0] - deltas[1]).abs().max() > 1e-3


def test_adapters_are_fused_before_the_weights_are_rounded(tmp_path):
    """In half precision each fused weight is the exact sum, rounded once."""
    base = tiny_sd15()
    lora, lcm = adapter(tmp_path / "lora", base, 0), tmp_path / "lcm"
    adapter(lcm / "lcm_lora", base, 1)
    (lcm / "metadata.json").write_text(json.dumps({"mode": "lora", "steps": 4, "guidance": 4.0}))
    half = tiny_model(base).model_copy(update={"dtype": "bfloat16"})
    exact, rounded = (load_variant(model, lora=lora, lcm=lcm).unet for model in (tiny_model(base), half))
    for (name, weight), found in zip(exact.named_parameters(), rounded.parameters(), strict=True):
        assert found.dtype == torch.bfloat16
        assert torch.equal(weight.bfloat16(), found), name


def test_an_adapter_at_half_its_scale(tmp_path):
    base = tiny_sd15()
    lora = adapter(tmp_path / "lora", base, 0)
    plain, half, whole = (
        load_variant(tiny_model(base), lora=path, lora_scale=scale).unet.state_dict()
        for path, scale in ((None, 1.0), (lora, 0.5), (lora, 1.0))
    )
    for name, weight in plain.items():
        torch.testing.assert_close(half[name], (weight + whole[name]) / 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "metadata.json"), ("{", "metadata.json"), ('{"mode": "fast"}', "'fast'"), ('{"mode": "lora"}', "lcm_lora")],
)
def test_a_damaged_student_is_named(tmp_path, content, said):
    if content is not None:
        (tmp_path / "metadata.json").write_text(content)
    with pytest.raises(ModelError, match=said):
        load_variant(tiny_model(tiny_sd15()), lcm=tmp_path)


def test_a_missing_adapter_is_named(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        load_variant(tiny_model(tiny_sd15()), lora=tmp_path / "nowhere")

"""Another autoencoder, an IP-Adapter and a refiner on tiny SD 1.5 and SDXL models; the embedded kind refuses them."""

import numpy as np
import pytest
import torch

from components.errors import RequestError
from components.image.generation.latent import load_variant
from components.image.generation.loras import PlainEngine
from components.image.generation.modes import parse
from components.image.generator import GenerateRequest, ImageGenerator
from components.image.product import read_model
from components.settings import settings
from tests import tiny
from tests.components.image.generation.pictures import base64_of, gradient, noisy, seen
from tests.controlnets import loud_controlnet
from tests.promoted import tiny_version

WIDTH = 16


@pytest.fixture(scope="module")
def promoted(tmp_path_factory):
    return read_model(tiny_version(tmp_path_factory.mktemp("slots"), "1"))


@pytest.fixture
def parts(tmp_path, monkeypatch):
    monkeypatch.setenv("KYARA_PARTS", str(tmp_path))
    settings.cache_clear()
    return tmp_path


def generator(base, promoted):
    bundle = load_variant(tiny.tiny_model(base))
    return ImageGenerator(bundle, promoted, PlainEngine.of(bundle))


def drawn(made, **fields):
    return seen(made.answer(GenerateRequest(**{"prompt": "a", "seed": 1, "steps": 2, "guidance_scale": 2, **fields})))


def save_adapter(folder, unet, width):
    """An IP-Adapter with random weights for a UNet, and an encoder of pictures."""
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    folder.mkdir(parents=True)
    inner, generator = unet.config.cross_attention_dim, torch.Generator().manual_seed(0)

    def some(*shape):
        return torch.randn(*shape, generator=generator) * 0.5

    state = {
        "image_proj.proj.weight": some(4 * inner, width),
        "image_proj.proj.bias": some(4 * inner),
        "image_proj.norm.weight": torch.ones(inner),
        "image_proj.norm.bias": torch.zeros(inner),
    }
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            out = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape[0]
            state |= {f"ip_adapter.{number}.to_{part}_ip.weight": some(out, inner) for part in "kv"}
    save_file(state, folder / "ip_adapter.safetensors")
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, projection_dim=width, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=16,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")


def save_refiner(folder):
    from diffusers import DDIMScheduler, StableDiffusionXLImg2ImgPipeline

    with torch.random.fork_rng():
        torch.manual_seed(3)
        StableDiffusionXLImg2ImgPipeline(
            vae=tiny._vae("kl"), text_encoder=None, text_encoder_2=tiny._text_encoder(projected=True), tokenizer=None,
            tokenizer_2=tiny._tokenizer(), requires_aesthetics_score=True, add_watermarker=False,
            scheduler=DDIMScheduler(**tiny._noise(False), clip_sample=False, set_alpha_to_one=False, steps_offset=1),
            unet=tiny._unet(
                cross_attention_dim=32, addition_embed_type="text_time", addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=5 * 8 + 32, use_linear_projection=True,
            ),
        ).save_pretrained(folder)  # fmt: skip


@pytest.mark.parametrize("base", [tiny.tiny_sd15, tiny.tiny_sdxl])
def test_an_ip_adapter_looks_at_a_picture_and_leaves_no_trace(base, promoted, parts):
    made = generator(base(), promoted)
    save_adapter(parts / "ip_adapter" / "face", made.bundle.unet, WIDTH)
    plain = drawn(made)
    asked = {"name": "face", "image": base64_of(noisy())}
    shown = drawn(made, ip_adapter=asked)
    assert not np.array_equal(shown, plain)
    assert np.array_equal(shown, drawn(made, ip_adapter=asked)) and np.array_equal(drawn(made), plain)
    assert not np.array_equal(shown, drawn(made, ip_adapter={**asked, "image": base64_of(gradient())}))
    assert np.array_equal(drawn(made, ip_adapter={**asked, "weight": 0}), plain)


def test_a_control_and_an_ip_adapter_work_together(promoted, parts, tmp_path, monkeypatch):
    made = generator(tiny.tiny_sd15(), promoted)
    save_adapter(parts / "ip_adapter" / "face", made.bundle.unet, WIDTH)
    net = str(loud_controlnet(tiny.tiny_sd15(), tmp_path / "net"))
    monkeypatch.setenv("KYARA_CONTROLNETS", net)
    settings.cache_clear()
    common = {"prompt": "a", "seed": 1, "steps": 2, "guidance_scale": 2, "mode": "control"}
    control = {"kind": "picture", "model": net, "image": base64_of(gradient())}
    asked = {"name": "face", "image": base64_of(noisy())}
    both, steered, shown = (
        seen(made.answer(parse({**common, "controls": [{**control, "weight": weight}], "ip_adapter": adapter})))
        for weight, adapter in ((1, asked), (1, None), (0, asked))
    )
    assert not np.array_equal(both, steered) and not np.array_equal(both, shown)


def test_another_autoencoder_decodes_and_shares_the_unet(promoted, parts):
    from diffusers import AutoencoderTiny

    made = generator(tiny.tiny_sd15(), promoted)
    plain = drawn(made)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tiny._vae("tiny").save_pretrained(parts / "vae" / "fast")
        AutoencoderTiny(
            encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        ).save_pretrained(parts / "vae" / "half")  # fmt: skip
    assert not np.array_equal(drawn(made, vae="fast"), plain) and np.array_equal(drawn(made), plain)
    assert made.slots.with_vae("fast").unet is made.bundle.unet
    with pytest.raises(RequestError, match=r"vae 'half' does not fit this model: it has 4 channels at 1/2"):
        drawn(made, vae="half")


def test_a_refiner_draws_over_on_sdxl_only(promoted, parts):
    save_refiner(parts / "refiner" / "second")
    made = generator(tiny.tiny_sdxl(), promoted)
    plain, over = drawn(made), drawn(made, refiner={"name": "second", "strength": 0.5})
    assert not np.array_equal(plain, over)
    assert np.array_equal(over, drawn(made, refiner={"name": "second", "strength": 0.5}))
    with pytest.raises(RequestError, match="refiner 'second' does not fit: this model is no SDXL"):
        drawn(generator(tiny.tiny_sd15(), promoted), refiner={"name": "second"})


@pytest.mark.parametrize(
    "fields", [{"vae": "x"}, {"refiner": {"name": "x"}}, {"ip_adapter": {"name": "x", "image": "AAAA"}}]
)
def test_a_model_with_latents_of_its_own_takes_none(promoted, parts, fields):
    with pytest.raises(RequestError, match=r"'x' does not fit: this model has latents of its own"):
        drawn(generator(tiny.tiny_sd15(vae="tiny"), promoted), **fields)


def test_unknown_and_broken_parts_are_named(promoted, parts):
    made = generator(tiny.tiny_sdxl(), promoted)
    for kind in ("vae", "refiner", "ip_adapter"):
        (parts / kind / "broken").mkdir(parents=True)
    image = base64_of(noisy())
    for name, said in (("../vae/broken", "is unknown"), ("none", "Known: broken"), ("broken", "does not fit")):
        for fields in ({"vae": name}, {"refiner": {"name": name}}, {"ip_adapter": {"name": name, "image": image}}):
            with pytest.raises(RequestError, match=said):
                drawn(made, **fields)
    save_adapter(parts / "ip_adapter" / "wide", generator(tiny.tiny_sd15(), promoted).bundle.unet, WIDTH)
    plain = drawn(made)
    with pytest.raises(RequestError, match="'wide' does not fit this model"):
        drawn(made, ip_adapter={"name": "wide", "image": image})
    assert np.array_equal(drawn(made), plain)

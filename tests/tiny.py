"""Randomly initialised models of the real classes, small enough that loading one takes a tenth of a second.

    base = tiny_sd15()                       # shared by the session, read only
    base = tiny_sdxl(tmp_path / "base")      # a copy of one's own
    model = tiny_model(base)                 # the ModelConfig that names it

Weights depend on nothing but the arguments: equal calls give equal files. 32x32 pictures, latents 4x8x8.
"""

import atexit
import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Literal

RESOLUTION = 32
LATENTS = (4, 8, 8)


def tiny_sd15(folder: Path | None = None, *, v_prediction: bool = False, vae: Literal["kl", "tiny"] = "kl") -> Path:
    """A StableDiffusionPipeline folder; with `v_prediction` rescaled to zero terminal SNR, as the embedded base."""
    return _copy(_sd15(v_prediction, vae), folder)


def tiny_sdxl(folder: Path | None = None, *, v_prediction: bool = False) -> Path:
    """A StableDiffusionXLPipeline folder with both text encoders."""
    return _copy(_sdxl(v_prediction), folder)


def tiny_model(base: Path) -> Any:
    """The ModelConfig of a folder made here."""
    from components.image.recipe import ModelConfig

    family = "sdxl" if (base / "text_encoder_2").is_dir() else "sd15"
    return ModelConfig(family=family, base=str(base), resolution=RESOLUTION)


def tiny_dataset(folder: Path, base: Path, *, count: int = 10, trigger: str = "kyarachar") -> Path:
    """What the dataset stage leaves for `count` flat pictures, two of them held out, without running it."""
    import torch
    from safetensors.torch import save_file

    from components.image.families.bundle import load_bundle

    bundle = load_bundle(tiny_model(base))
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(count, 3, 1, 1, generator=generator) * 2 - 1
    latents = bundle.encode_images(colours.expand(count, 3, RESOLUTION, RESOLUTION))
    samples = [_sample(number, "val" if number < 2 else "train", trigger) for number in range(count)]
    captions = sorted({"", *(caption for sample in samples for caption in sample["captions"])})
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {sample["id"]: latents[row].clone(memory_format=torch.contiguous_format) for row, sample in enumerate(samples)},
        folder / "latents.safetensors",
    )
    condition = bundle.encode_prompts(captions)
    text = {f"{_key(caption)}.hidden": condition.hidden[row].clone() for row, caption in enumerate(captions)}
    if condition.pooled is not None:
        text |= {f"{_key(caption)}.pooled": condition.pooled[row].clone() for row, caption in enumerate(captions)}
    save_file(text, folder / "text.safetensors")
    index = {"trigger": trigger, "resolution": RESOLUTION, "license": "CC0-1.0", "artist": "nobody", "samples": samples}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def tiny_prompts(folder: Path, *, count: int = 4, attributes: dict[str, str] | None = None) -> Path:
    """A folder of prompt sets; all prompts ask for the same attributes, if any."""
    folder.mkdir(parents=True, exist_ok=True)
    for start, name in enumerate(("select", "calibrate", "report")):
        prompts = [
            {"prompt": f"hair {row}", "attributes": attributes or {}, "seed": 100 * start + row} for row in range(count)
        ]
        (folder / f"{name}.json").write_text(json.dumps({"set": name, "prompts": prompts}), encoding="utf-8")
    return folder


def tiny_judge(folder: Path) -> Path:
    """A judge that guesses: all heads of the vocabulary, random weights."""
    import torch
    from safetensors.torch import save_file

    from components.portraits.judge import STYLE, JudgeNetwork
    from components.portraits.vocabulary import ATTRIBUTES, STYLES

    heads = {**{head: list(values) for head, values in ATTRIBUTES.items()}, STYLE: list(STYLES)}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = JudgeNetwork(heads, width=8, features=16)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    facts = {"heads": heads, "width": 8, "features": 16, "size": RESOLUTION, "accuracy": dict.fromkeys(heads, 0.5)}
    (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def _sample(number: int, split: str, trigger: str) -> dict[str, Any]:
    captions = [f"{trigger}, girl, hair {number % 3}", f"{trigger}, hair {number % 3}, girl"]
    shape = {"width": RESOLUTION, "height": RESOLUTION, "original": [2 * RESOLUTION, RESOLUTION], "crop": [16, 0]}
    facts = {"file": f"{number}.png", "license": "CC0-1.0", **shape}
    return {"id": f"{number:016x}", "split": split, "captions": captions, "source": "", "artist": "nobody", **facts}


def _key(caption: str) -> str:
    return hashlib.sha256(caption.encode()).hexdigest()[:16]


def _copy(source: Path, folder: Path | None) -> Path:
    return source if folder is None else Path(shutil.copytree(source, folder, dirs_exist_ok=True))


@cache
def _shelf() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kyara-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _sd15(v_prediction: bool, vae: str) -> Path:
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    folder = _shelf() / f"sd15-{v_prediction}-{vae}"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = StableDiffusionPipeline(
            vae=_vae(vae),
            text_encoder=_text_encoder(projected=False),
            tokenizer=_tokenizer(),
            unet=_unet(cross_attention_dim=32),
            scheduler=DDIMScheduler(**_noise(v_prediction), clip_sample=False, set_alpha_to_one=False, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


@cache
def _sdxl(v_prediction: bool) -> Path:
    import torch
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline

    folder = _shelf() / f"sdxl-{v_prediction}"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        pipeline = StableDiffusionXLPipeline(
            vae=_vae("kl"),
            text_encoder=_text_encoder(projected=False),
            text_encoder_2=_text_encoder(projected=True),
            tokenizer=_tokenizer(),
            tokenizer_2=_tokenizer(),
            unet=_unet(
                cross_attention_dim=64,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                transformer_layers_per_block=(1, 2),
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + 32,
            ),
            scheduler=DDIMScheduler(**_noise(v_prediction), clip_sample=False, set_alpha_to_one=False, steps_offset=1),
            add_watermarker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def _noise(v_prediction: bool) -> dict[str, Any]:
    schedule: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    if v_prediction:
        schedule |= {
            "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
        }  # fmt: skip
    return schedule


def _unet(**special: Any) -> Any:
    from diffusers import UNet2DConditionModel

    usual: dict[str, Any] = {
        "sample_size": LATENTS[1],
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**{**usual, **special})


def _vae(kind: str) -> Any:
    from diffusers import AutoencoderKL, AutoencoderTiny

    if kind == "tiny":
        widths = (8, 8, 8)
        return AutoencoderTiny(
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
        )
    return AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        sample_size=RESOLUTION,
        mid_block_add_attention=False,
    )


def _text_encoder(*, projected: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=32,
        intermediate_size=64,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _tokenizer() -> Any:
    """Byte-level, without merges: one token a character."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=77)

"""Exports: names, metadata, and that other loaders draw the same picture."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from components.errors import ModelError
from components.image.export import KOHYA, Made, certify, export, load_kohya, save_peft, sgm_path
from components.image.families.bundle import Bundle, load_bundle
from components.image.generation.latent import pictures
from components.image.lora import Adapter, attach, fuse
from components.image.recipe import TrainConfig
from components.runlog import SilentLog
from tests.tiny import RESOLUTION, tiny_model, tiny_sd15, tiny_sdxl

SAMPLES = [{"split": "train", "captions": ["hero, red hair", "red hair, hero"]}, {"split": "val", "captions": ["hero"]}]
MADE = Made(3, 42, "lowest validation loss", {"license": "CC0-1.0", "artist": "A. Nobody", "samples": SAMPLES}, {})


def config(base: Path, **changes: Any) -> TrainConfig:
    usual = {"model": tiny_model(base), "trigger": "hero", "rank": 4, "alpha": 2, "targets": "all", "seed": 3}
    return TrainConfig.model_validate({**usual, **changes})


def trained(settings: TrainConfig) -> tuple[Bundle, Adapter]:
    """A model whose LoRA does something to every layer."""
    bundle = load_bundle(settings.model)
    adapter = attach(
        bundle.unet, rank=settings.rank, alpha=settings.alpha, targets=settings.targets, seed=0, log=SilentLog()
    )
    generator = torch.Generator().manual_seed(4)
    weights = {name: 0.1 * torch.randn(value.shape, generator=generator) for name, value in adapter.parameters.items()}
    adapter.load(weights)
    return bundle, adapter


def exported(settings: TrainConfig, folder: Path) -> tuple[Bundle, Adapter]:
    bundle, adapter = trained(settings)
    export(settings, MADE, bundle, adapter.parameters, adapter.config, folder, SilentLog())
    return bundle, adapter


@dataclass
class Exported:
    """A folder with an export, and what it was made from."""

    folder: Path
    config: TrainConfig
    bundle: Bundle
    adapter: Adapter


@pytest.fixture(scope="module", params=["sd15", "sdxl-half"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    half = request.param == "sdxl-half"
    settings = config(tiny_sdxl(), export_dtype="float16") if half else config(tiny_sd15(v_prediction=True))
    folder = tmp_path_factory.mktemp(request.param) / "final"
    return Exported(folder, settings, *exported(settings, folder))


def test_both_forms_load_back(done: Exported) -> None:
    names = {path.name for path in done.folder.iterdir()}
    assert names == {"adapter_model.safetensors", "adapter_config.json", KOHYA, "metadata.json"}
    facts = json.loads((done.folder / "metadata.json").read_text())
    certified = facts["certified"]
    assert certified["effect"] > 0.1, "the LoRA changes the picture, so that equal pictures mean something"
    assert max(certified["peft"], certified["kohya"]) <= certified["allowed"]
    assert facts["files"].keys() == names - {"metadata.json"}
    for name in (KOHYA, "adapter_model.safetensors"):
        assert {str(value.dtype)[6:] for value in load_file(done.folder / name).values()} == {done.config.export_dtype}


def test_a_pipeline_of_diffusers_loads_every_layer_of_the_kohya_file(done: Exported) -> None:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(done.config.model.base)
    pipeline.load_lora_weights(str(done.folder), weight_name=KOHYA)
    name = pipeline.unet.active_adapters()[0]
    found = {key.replace(f".{name}.", "."): value for key, value in pipeline.unet.named_parameters() if ".lora_" in key}
    assert found.keys() == done.adapter.parameters.keys()
    dtype = getattr(torch, done.config.export_dtype)
    for key, value in done.adapter.parameters.items():
        assert torch.equal(found[key].to(dtype), value.to(dtype)), key
    assert pipeline.unet.down_blocks[0].resnets[0].conv1.scaling[name] == done.config.alpha / done.config.rank


def test_kohya_names_of_sd15_are_those_of_diffusers(done: Exported) -> None:
    if done.config.model.family != "sd15":
        return
    state = load_file(done.folder / KOHYA)
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
    assert state[f"{name}.lora_down.weight"].shape == (4, 32)
    assert state[f"{name}.lora_up.weight"].shape == (32, 4)
    assert state[f"{name}.alpha"] == 2


@pytest.mark.parametrize(
    ("module", "path"),
    [  # checked against the key list of stabilityai/stable-diffusion-xl-base-1.0 (two layers a block)
        ("down_blocks.0.resnets.1.conv1", "input_blocks.2.0.in_layers.2"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
        ("down_blocks.1.resnets.0.conv_shortcut", "input_blocks.4.0.skip_connection"),
        ("down_blocks.1.attentions.0.proj_in", "input_blocks.4.1.proj_in"),
        (
            "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0",
            "input_blocks.8.1.transformer_blocks.9.attn2.to_out.0",
        ),
        ("mid_block.attentions.0.proj_out", "middle_block.1.proj_out"),
        ("mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1"),
        ("up_blocks.0.attentions.2.proj_in", "output_blocks.2.1.proj_in"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv"),
        ("up_blocks.1.resnets.0.conv2", "output_blocks.3.0.out_layers.3"),
        ("up_blocks.2.resnets.2.conv_shortcut", "output_blocks.8.0.skip_connection"),
    ],
)
def test_sdxl_names(module: str, path: str) -> None:
    assert sgm_path(module, layers=2) == path


def test_a_layer_without_kohya_name_is_named() -> None:
    with pytest.raises(ModelError, match=r"'conv_in' has no name"):
        sgm_path("conv_in", layers=2)


def test_the_header_says_what_others_look_for(done: Exported) -> None:
    with safe_open(done.folder / KOHYA, "pt") as file:
        header = file.metadata()
    assert header["ss_network_module"] == "networks.lora"
    assert header["ss_network_dim"] == "4"
    assert json.loads(header["ss_network_args"]) == {"conv_dim": 4, "conv_alpha": 2.0}
    frequencies = json.loads(header["ss_tag_frequency"])
    assert frequencies == {"hero": {"hero": 1, "red hair": 1}}, "held-out pictures do not count"
    assert (header["ss_epoch"], header["ss_steps"]) == ("3", "42")
    assert header["modelspec.sai_model_spec"] == "1.0.0"
    xl = done.config.model.family == "sdxl"
    assert header["modelspec.architecture"] == f"stable-diffusion-{'xl-v1-base' if xl else 'v1'}/lora"
    assert header["modelspec.prediction_type"] == ("epsilon" if xl else "v")
    assert header["modelspec.trigger_phrase"] == "hero"
    assert header["modelspec.license"] == "CC0-1.0"
    assert "A. Nobody" in header["modelspec.description"]
    content = (done.folder / KOHYA).read_bytes()
    data = content[8 + int.from_bytes(content[:8], "little") :]
    assert header["modelspec.hash_sha256"] == "0x" + hashlib.sha256(data).hexdigest()


def test_the_data_digest_is_in_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.settings import settings

    base = tiny_sd15()
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef.dir\n  path: data\n")
    monkeypatch.setenv("KYARA_ROOT", str(tmp_path))
    settings.cache_clear()
    try:
        exported(config(base, targets=("to_q",)), tmp_path / "final")
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    facts = json.loads((tmp_path / "final" / "metadata.json").read_text())
    assert facts["dvc_digest"] == "0123456789abcdef.dir"
    with safe_open(tmp_path / "final" / KOHYA, "pt") as file:
        assert file.metadata()["kyara.dvc_digest"] == "0123456789abcdef.dir"


@pytest.mark.parametrize("form", ["peft", "kohya"])
def test_a_file_that_draws_something_else_is_refused(done: Exported, tmp_path: Path, form: str) -> None:
    folder = Path(shutil.copytree(done.folder, tmp_path / "final"))
    file = folder / ("adapter_model.safetensors" if form == "peft" else KOHYA)
    kept = "lora_B" if form == "peft" else "lora_up"
    save_file({name: value * (-1 if kept in name else 1) for name, value in load_file(file).items()}, file)
    side, question = RESOLUTION, ("hero", 3)
    picture = pictures(done.bundle, ["hero"], [3], steps=4, guidance=done.config.guidance, size=(side, side))[0]
    with pytest.raises(ModelError, match=f"the {form} export draws another picture"):
        certify(folder, done.config, picture, question, done.bundle)


def test_a_foreign_or_damaged_kohya_file_is_a_model_error(tmp_path: Path) -> None:
    bundle = load_bundle(tiny_model(tiny_sd15()))
    (tmp_path / KOHYA).write_bytes(b"no safetensors")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_kohya(bundle, tmp_path / KOHYA)


def test_the_peft_form_names_base_and_adapter(tmp_path: Path) -> None:
    settings = config(tiny_sd15(), targets=("to_q", "to_k"))
    bundle, adapter = trained(settings)
    save_peft(tmp_path, adapter.parameters, adapter.config, "some/base")
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == "some/base"
    assert written["target_modules"] == ["to_k", "to_q"]
    fresh = load_bundle(settings.model)
    fuse(fresh.unet, tmp_path)
    inputs = (torch.ones(1, 4, 8, 8), 10, torch.ones(1, 77, 32))
    with torch.no_grad():
        assert torch.allclose(fresh.unet(*inputs).sample, bundle.unet(*inputs).sample, atol=1e-4)

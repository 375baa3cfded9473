"""Engines against plain torch: measured errors, precision by error, kept conversions, other shapes."""

import io
import json
import logging
import os

import numpy as np
import openvino
import pytest
import torch
from PIL import Image

from components.errors import EnvironmentProblem
from components.image.generation.engine import build_engine, relative_error
from components.image.generation.inversion import invert
from components.image.generation.latent import initial_noise, load_variant, own_guidance
from components.image.generation.openvino_engine import Network, _trace, network_digest, prune
from components.image.generator import GenerateRequest, ImageGenerator
from components.settings import settings
from tests.promoted import home, tiny_version
from tests.tiny import tiny_model, tiny_sd15, tiny_sdxl

HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def bundle():
    return load_variant(tiny_model(tiny_sd15(v_prediction=True)))


def compare(engine, bundle, prompts, size):
    """Relative errors of text, UNet and decoder on another batch and size."""
    noise = initial_noise(bundle, range(len(prompts)), size[1], size[0])
    t = torch.full((len(prompts),), 499)
    guidance = (
        torch.zeros(len(prompts), 256)
        if "time_cond_proj_dim" in bundle.unet.config and bundle.unet.config.time_cond_proj_dim
        else None
    )
    theirs, ours = bundle.encode_prompts(prompts), engine.encode(prompts)
    with torch.no_grad():
        predicted = bundle.predict(noise, t, theirs, guidance)
    return [
        relative_error(ours.hidden, theirs.hidden),
        relative_error(engine.predict(noise, t, ours, guidance), predicted),
        relative_error(engine.decode(noise), bundle.decode_latents(noise)),
    ]


def test_float32_is_exact_at_any_shape(bundle, cache):
    engine = build_engine(bundle, "openvino", "float32", cache_dir=cache)
    assert engine.name == "openvino float32"
    assert max(engine.errors.values()) < 1e-4
    for prompts, size in ((["a"], (32, 32)), (["a", "b, red hair"], (32, 32)), (["a"], (64, 32))):
        assert max(compare(engine, bundle, prompts, size)) < 1e-4


def test_sdxl_runs_with_both_encoders():
    bundle = load_variant(tiny_model(tiny_sdxl()))
    engine = build_engine(bundle, "openvino", "float32")
    assert max(engine.errors.values()) < 1e-4
    assert max(compare(engine, bundle, ["a", "b"], (32, 32))) < 1e-4
    assert relative_error(engine.encode(["a"]).pooled, bundle.encode_prompts(["a"]).pooled) < 1e-4


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bfloat16")
def test_bfloat16_where_its_error_allows(bundle, cache, caplog):
    engine = build_engine(bundle, "openvino", "auto", 0.05, cache)
    assert engine.precision == {"unet": "bfloat16", "vae": "bfloat16"}
    assert 0 < engine.errors["latents"] <= 0.05 and 0 < engine.errors["picture"] <= 0.05
    with caplog.at_level(logging.WARNING, "kyara"):
        strict = build_engine(bundle, "openvino", "auto", 1e-6, cache)
        forced = build_engine(bundle, "openvino", "bfloat16", 1e-6, cache)
    assert strict.precision == {"unet": "float32", "vae": "float32"} and strict.errors["latents"] < 1e-4
    assert forced.precision == {"unet": "bfloat16", "vae": "bfloat16"}
    assert sum("strays" in record.message for record in caplog.records) == 4


def test_conversions_are_kept_by_the_weights(bundle, cache, tmp_path):
    build_engine(bundle, "openvino", "float32", cache_dir=cache)
    (folder,) = cache.iterdir()
    kept = {file: file.stat().st_mtime_ns for file in (folder / "networks").iterdir()}
    build_engine(bundle, "openvino", "float32", cache_dir=cache)
    assert kept == {file: file.stat().st_mtime_ns for file in (folder / "networks").iterdir()}
    (folder / "networks" / "unet.xml").write_text("")
    build_engine(bundle, "openvino", "float32", cache_dir=cache)
    assert (folder / "networks" / "unet.xml").stat().st_size > 0
    other = load_variant(tiny_model(tiny_sd15(v_prediction=True)))
    assert network_digest(other) == network_digest(bundle)
    moved = load_variant(tiny_model(tiny_sd15(tmp_path / "elsewhere", v_prediction=True)))
    assert network_digest(moved) == network_digest(bundle)
    other.unet.conv_in.bias.data += 1e-3
    assert network_digest(other) != network_digest(bundle)


def test_only_the_shapes_used_last_stay_compiled():
    network = Network(_trace(torch.nn.ReLU(), [torch.zeros(1, 3)]), "float32", None)
    for width in (4, 5, 6, 4, 7, 8, 4):
        network(torch.zeros(1, width))
    assert [shape[0][-1] for shape in network._compiled] == [6, 7, 8, 4]


def test_the_cache_on_disk_is_pruned_by_last_use(tmp_path):
    for age, name in enumerate(("new", "used", "old")):
        for path in (tmp_path / name / "blobs" / "1.blob", tmp_path / name / "networks" / "unet.bin"):
            path.parent.mkdir(parents=True)
            path.write_bytes(bytes(100))
            os.utime(path, (10**9 - age, 10**9 - age))
    prune(tmp_path, 400, tmp_path / "used")
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {f"{name}/{file}" for name in ("new", "used") for file in ("blobs/1.blob", "networks/unet.bin")}
    prune(tmp_path, 1, tmp_path / "used")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["unet.bin"]
    assert (tmp_path / "used" / "networks" / "unet.bin").is_file()


def test_compiling_a_shape_prunes(bundle, tmp_path, monkeypatch):
    (tmp_path / "other" / "networks").mkdir(parents=True)
    (tmp_path / "other" / "networks" / "unet.bin").write_bytes(bytes(2**21))
    monkeypatch.setenv("KYARA_ENGINE_CACHE_MIB", "1")
    settings.cache_clear()
    build_engine(bundle, "openvino", "float32", cache_dir=tmp_path)
    assert not (tmp_path / "other" / "networks").exists()


def test_a_student_with_embedded_guidance(tmp_path):
    """Full mode: the guidance embedding is one more input of the network."""
    from diffusers import UNet2DConditionModel

    base = tiny_sd15()
    plain = load_variant(tiny_model(base)).unet
    UNet2DConditionModel.from_config({**plain.config, "time_cond_proj_dim": 256}).save_pretrained(tmp_path / "unet")
    facts = {
        "mode": "full",
        "steps": 4,
        "guidance": 4.0,
        "guidance_range": [3.0, 5.0],
        "solver_steps": 50,
        "timestep_scaling": 10.0,
    }
    (tmp_path / "metadata.json").write_text(json.dumps(facts))
    bundle = load_variant(tiny_model(base), lcm=tmp_path)
    engine = build_engine(bundle, "openvino", "float32")
    assert max(engine.errors.values()) < 1e-4
    assert max(compare(engine, bundle, ["a", "b"], (32, 32))) < 1e-4
    asked = own_guidance(bundle, 2)
    assert asked is not None and asked.shape == (2, 256)
    assert own_guidance(load_variant(tiny_model(base)), 2) is None
    noise, condition = initial_noise(bundle, [0], 32, 32), bundle.encode_prompts(["a"])
    *_, (_, inverted) = invert(bundle, noise, condition, steps=2, predict=engine.predict)  # always told its guidance
    assert torch.isfinite(inverted.noise).all()


def test_torch_compile_without_a_compiler(bundle, monkeypatch):
    """An engine that was asked for by name and does not run is an error that says so."""
    monkeypatch.setenv("CXX", "/nowhere/c++")
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("/nowhere/c++",))
    torch.compiler.reset()
    with pytest.raises(EnvironmentProblem, match="compiled"):
        build_engine(bundle, "compiled", "float32")


def test_eager_is_the_bundle(bundle):
    engine = build_engine(bundle, "eager")
    assert engine.name == "eager float32" and engine.bundle is bundle


def test_a_promoted_model_draws_nearly_the_same(tmp_path):
    with home(tmp_path / "home"):
        folder = tiny_version(tmp_path / "models", "1")
        request = GenerateRequest(prompt="a girl", seed=3)
        plain, fast = (ImageGenerator.load(folder, engine=kind).answer(request) for kind in ("eager", "auto"))
    assert fast.metadata["engine"].startswith("openvino")
    drawn = (np.asarray(Image.open(io.BytesIO(done.content))).astype(float) for done in (plain, fast))
    assert np.abs(next(drawn) - next(drawn)).mean() < 4

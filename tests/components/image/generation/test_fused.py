"""LoRAs in converted networks: equal to plain torch, made aside, bounded; and what many threads draw at once."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from components.errors import RequestError
from components.image.generation import loras as shelf_of
from components.image.generation.engine import relative_error
from components.image.generation.latent import initial_noise
from components.image.generator import GenerateRequest, ImageGenerator
from components.settings import settings
from tests.components.image.generation.pictures import seen
from tests.promoted import _adapter as adapter
from tests.promoted import home, tiny_version
from tests.tiny import tiny_sd15


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_version(tmp_path_factory.mktemp("fused"), "1")


@pytest.fixture(scope="module")
def fast(folder, tmp_path_factory):
    """On OpenVINO, in float32, so that equal means equal."""
    with home(tmp_path_factory.mktemp("home")):
        return ImageGenerator.load(folder, engine="openvino", precision="float32")


@pytest.fixture(autouse=True)
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("KYARA_LORAS", str(tmp_path / "loras"))
    settings.cache_clear()
    for seed, name in enumerate(("one", "two", "three")):
        adapter(tiny_sd15(), tmp_path / "loras" / name, 5 + seed)


def drawn(generator, seed=1, **fields):
    return generator.answer(GenerateRequest(prompt="a", seed=seed, raw=True, **fields))


def test_a_lora_runs_in_plain_torch_first_and_on_openvino_then(fast):
    plain = drawn(fast)
    first = drawn(fast, loras={"one": 0.8, "two": -0.5})
    assert first.metadata["engine"].startswith("eager")
    assert fast.fused.wait(60)
    hits = fast.counters["adapter_cache_hits"]
    second = drawn(fast, loras={"one": 0.8, "two": -0.5})
    assert second.metadata["engine"] == "openvino float32" and fast.counters["adapter_cache_hits"] == hits + 1
    assert np.abs(seen(second).astype(int) - seen(first)).max() <= 1
    assert not np.array_equal(seen(second), seen(plain))
    assert drawn(fast).content == plain.content


def test_each_step_equals_plain_torch(fast):
    asked = shelf_of.chosen({"two": 1.0})
    noise, condition, t = initial_noise(fast.bundle, [3], 32, 32), fast.engine.encode(["b"]), torch.tensor([400])
    assert fast.fused.get(asked, noise, condition) is None
    assert fast.fused.wait(60)
    engine = fast.fused.get(asked, noise, condition)
    assert engine.errors["latents"] < 1e-4 and engine.bundle.vae is fast.engine.bundle.vae
    assert (
        relative_error(engine.predict(noise, t, condition), fast.plain.predict(noise, t, condition, None, asked)) < 1e-4
    )
    assert relative_error(engine.predict(noise, t, condition), fast.engine.predict(noise, t, condition)) > 1e-3


def test_others_are_drawn_while_one_is_made_and_one_is_made_at_a_time(fast):
    hold, begun, make = threading.Event(), threading.Event(), fast.fused._fused
    made = []

    def slowly(key):
        begun.set()
        hold.wait()
        made.append(key.loras)
        return make(key)

    fast.fused._fused = slowly
    try:
        drawn(fast, loras={"three": 0.5})
        begun.wait()
        assert drawn(fast).metadata["engine"].startswith("openvino")
        for weight in (0.1, 0.2):
            assert drawn(fast, loras={"three": weight}).metadata["engine"].startswith("eager")
    finally:
        hold.set()
        del fast.fused._fused
    assert fast.fused.wait(60)
    assert made == [shelf_of.chosen({"three": 0.5})]


def test_only_the_last_used_stay(fast):
    for weight in range(1, 7):
        drawn(fast, loras={"one": weight / 10})
        assert fast.fused.wait(60)
    assert len(fast.fused._made) == settings().adapters_kept
    assert drawn(fast, loras={"one": 0.1}).metadata["engine"].startswith("eager")
    assert fast.fused.wait(60)


def test_what_strays_or_does_not_fit_stays_in_plain_torch(fast, monkeypatch, caplog):
    monkeypatch.setattr(fast.fused, "_max_error", 0.0)
    for _ in range(2):
        assert drawn(fast, loras={"two": 2.0}).metadata["engine"].startswith("eager")
        assert fast.fused.wait(60)
    assert len([each for each in caplog.records if "stay in plain torch" in each.message]) == 1
    with pytest.raises(RequestError, match="unknown"):
        drawn(fast, loras={"four": 1})


def test_texts_are_encoded_once(fast):
    drawn(fast)
    before = fast.counters
    drawn(fast, seed=2)
    after = fast.counters
    assert after["text_cache_hits"] == before["text_cache_hits"] + 1
    assert after["text_cache_misses"] == before["text_cache_misses"]
    assert after["steps"] == after["batches"] == before["steps"] + 4


@pytest.fixture(scope="module")
def many(folder):
    """In plain torch, four at once."""
    generator = ImageGenerator.load(folder, engine="eager", parallel=4)
    generator.engine.steps.wait = 30
    return generator


def test_threads_share_batches_and_draw_what_each_draws_alone(many, tiny_generator):
    requests = [GenerateRequest(prompt=text, seed=seed, raw=True) for seed, text in enumerate("abcd")]
    before = many.counters
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(many.answer, requests))
    after = many.counters
    assert many.parallel == 4
    assert after["steps"] - before["steps"] == 16 and after["batches"] - before["batches"] < 16
    for request, done in zip(requests, together, strict=True):
        alone = tiny_generator.answer(request)
        assert np.abs(seen(done).astype(int) - seen(alone)).max() <= 1


def test_one_that_is_cancelled_or_fails_does_not_disturb_the_others(many, tiny_generator, shelf):
    stays = GenerateRequest(prompt="a", seed=1, raw=True, steps=6)

    def leaves():
        running = many.run(GenerateRequest(prompt="b", seed=2, raw=True, steps=6))
        next(running)
        next(running)
        running.close()

    def fails():
        with pytest.raises(RequestError, match="unknown"):
            many.answer(GenerateRequest(prompt="c", raw=True, loras={"four": 1}))

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(many.answer, stays), pool.submit(leaves), pool.submit(fails)]
        done, *_ = [each.result(120) for each in asked]
    assert np.abs(seen(done).astype(int) - seen(tiny_generator.answer(stays))).max() <= 1
    assert many.engine.steps._members == 0


def test_a_model_that_is_let_go_finishes_what_runs_and_leaves_memory(folder):
    generator = ImageGenerator.load(folder, engine="eager")
    kept = weakref.ref(generator.bundle.unet)
    running = generator.run(GenerateRequest(prompt="a", seed=1, raw=True))
    next(running)
    del generator
    *_, done = running
    assert done.content
    del running
    gc.collect()
    assert kept() is None

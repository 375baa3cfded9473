"""Requests, events and PNG metadata on a tiny promoted model with plain torch."""

import io
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from components.contracts import Done, Preview
from components.errors import RequestError
from components.image.dataset import captions
from components.image.generation.metadata import read_png
from components.image.generator import GenerateRequest, ImageGenerator
from components.settings import settings
from tests.promoted import tiny_version


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return ImageGenerator.load(tiny_version(tmp_path_factory.mktemp("models"), "1"), engine="eager")


def opened(done):
    return Image.open(io.BytesIO(done.content))


def pixels(done):
    return np.asarray(opened(done)).astype(int)


def test_previews_then_done(generator):
    events = list(generator.run(GenerateRequest(prompt="a girl", seed=0, steps=3)))
    assert [(event.done, event.total, event.content) for event in events[:-1]] == [
        (1, 3, None),
        (2, 3, None),
        (3, 3, None),
    ]
    assert isinstance(events[-1], Done) and events[-1].seconds > 0
    previews = [
        event
        for event in generator.run(GenerateRequest(prompt="a girl", steps=2), previews=True)
        if isinstance(event, Preview)
    ]
    assert [Image.open(io.BytesIO(event.content)).size for event in previews] == [(32, 32), (32, 32)]


def test_the_picture_says_what_made_it(generator):
    done = generator.answer(GenerateRequest(prompt="青い髪, smile", negative_prompt="bad, hands", seed=7, raw=True))
    with Image.open(io.BytesIO(done.content)) as image:
        text = image.info["parameters"]
        assert image.size == (32, 32)
    digest = generator.promoted.digest
    assert text == (
        "kyarachar, 青い髪, smile\nNegative prompt: bad, hands\n"
        f"Steps: 4, Sampler: LCM, CFG scale: 1, Seed: 7, Size: 32x32, "
        f"Model hash: {digest[:10]}, Model: tiny, Version: kyara {done.metadata['kyara']}"
    )
    assert read_png(done.content) == done.metadata
    expected = {
        "seed": 7,
        "steps": 4,
        "guidance_scale": 1.0,
        "warnings": ["negative_prompt has no effect at guidance 1: ask for a guidance_scale above 1."],
        "model": "tiny",
        "model_version": "1",
        "engine": "eager float32",
        "license": "CC0-1.0",
    }
    assert expected.items() <= done.metadata.items()


def test_a_plain_png_has_no_facts():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    assert read_png(buffer.getvalue()) == {}


def test_seeds(generator):
    """0 is a seed like any other; none is a random one, which the picture reports."""
    first, again = (generator.answer(GenerateRequest(prompt="a", seed=0)) for _ in range(2))
    assert first.content == again.content and first.metadata["seed"] == 0
    drawn = generator.answer(GenerateRequest(prompt="a"))
    assert drawn.content == generator.answer(GenerateRequest(prompt="a", seed=drawn.metadata["seed"])).content
    assert drawn.content != first.content


@pytest.mark.parametrize("prompt", ["a", "KyaraChar, a", "a, kyarachar", "kyarachars, a", "a kyarachar with a hat"])
def test_a_prompt_is_served_as_captions_are_trained(generator, prompt):
    drawn = generator.answer(GenerateRequest(prompt=prompt, seed=1, raw=True)).metadata["prompt"]
    assert drawn.startswith("kyarachar, ")
    assert drawn == captions.variants(prompt, "kyarachar", 1, "")[0]
    assert (
        generator.answer(GenerateRequest(prompt=prompt, seed=1, raw=True, trigger=False)).metadata["prompt"] == prompt
    )


def test_a_long_negative_prompt_that_nobody_reads_changes_nothing(generator):
    plain, negative = (
        generator.answer(GenerateRequest(prompt="red hair", seed=3, negative_prompt=text))
        for text in ("", "bad " * 400)
    )
    assert np.array_equal(pixels(plain), pixels(negative))


def test_negative_prompts_count_above_guidance_one(generator):
    asked = {"prompt": "a", "seed": 1, "steps": 2}
    plain, negative = (generator.answer(GenerateRequest(**asked, negative_prompt=text)) for text in ("", "bad"))
    assert np.array_equal(pixels(plain), pixels(negative))
    guided, moved = (
        generator.answer(GenerateRequest(**asked, guidance_scale=3, negative_prompt=text)) for text in ("", "bad")
    )
    assert not np.array_equal(pixels(guided), pixels(moved))
    assert not np.array_equal(pixels(guided), pixels(plain))


def test_sizes(generator):
    assert opened(generator.answer(GenerateRequest(prompt="a", width=64, height=32, steps=1))).size == (64, 32)
    for wrong, said in (
        ({"width": 36}, "width 36"),
        ({"height": 160}, "height 160"),
        ({"width": 128, "height": 64}, "128x64"),
    ):
        with pytest.raises(RequestError, match=said):
            generator.answer(GenerateRequest(prompt="a", **wrong))


def test_what_a_request_may_cost_is_bounded_before_anything_is_drawn(generator, monkeypatch):
    monkeypatch.setenv("KYARA_REQUEST_COST", "7")
    settings.cache_clear()
    generator.answer(GenerateRequest(prompt="a", steps=4))
    for dear in ({"guidance_scale": 2}, {"width": 64}, {"prompt": "long " * 20}):
        with pytest.raises(RequestError, match=r"costs .*at most 7"):
            next(generator.run(GenerateRequest(**{"prompt": "a", "steps": 4, **dear})))


def test_a_student_takes_its_own_sampler(generator):
    assert generator.answer(GenerateRequest(prompt="a", steps=1, sampler="lcm")).metadata["sampler"] == "lcm"
    with pytest.raises(RequestError, match="'ddim' does not fit"):
        generator.answer(GenerateRequest(prompt="a", sampler="ddim"))


def test_more_steps_than_the_student_knows(generator):
    with pytest.raises(RequestError, match="steps 60"):
        generator.answer(GenerateRequest(prompt="a", steps=60))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"prompt": ""}, "prompt: ''"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "x" * 2001}, "prompt.*2000"),
        ({}, "prompt: missing"),
        ({"prompt": "a", "seed": -1}, "seed: -1"),
        ({"prompt": "a", "seed": 2**32}, "seed: 4294967296"),
        ({"prompt": "a", "steps": 0}, "steps: 0"),
        ({"prompt": "a", "steps": 101}, "steps: 101"),
        ({"prompt": "a", "guidance_scale": 31}, "guidance_scale: 31"),
        ({"prompt": "a", "guidance_scale": "nan"}, "guidance_scale: 'nan'"),
        ({"prompt": "a", "width": 0}, "width: 0"),
        ({"prompt": "a", "stepz": 3}, "stepz: no such field"),
    ],
)
def test_a_wrong_request_names_the_value(values, said):
    with pytest.raises(RequestError, match=said):
        GenerateRequest(**values)
    with pytest.raises(RequestError, match=said):
        GenerateRequest.model_validate(values)


def test_all_mistakes_at_once():
    with pytest.raises(RequestError, match=r"seed: -1.*steps: 0"):
        GenerateRequest(prompt="a", seed=-1, steps=0)


def test_threads_share_the_engine(generator):
    alone = {seed: generator.answer(GenerateRequest(prompt="a", seed=seed)).content for seed in range(4)}
    together = {}
    threads = [
        threading.Thread(
            target=lambda seed=seed: together.update(
                {seed: generator.answer(GenerateRequest(prompt="a", seed=seed)).content}
            )
        )
        for seed in alone
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_batch_is_a_zip_of_what_each_seed_gives_alone(generator):
    done = generator.answer(GenerateRequest(prompt="a", seed=2**32 - 2, n=3))
    assert done.media_type == "application/zip" and [facts["seed"] for facts in done.metadata["pictures"]] == [
        2**32 - 2, 2**32 - 1, 0,
    ]  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(done.content)) as archive:
        assert archive.namelist() == ["4294967294.png", "4294967295.png", "0.png"]
        last = archive.read("0.png")
    assert last == generator.answer(GenerateRequest(prompt="a", seed=0)).content
    assert done.content == generator.answer(GenerateRequest(prompt="a", seed=2**32 - 2, n=3)).content


def test_a_batch_counts_and_costs_all_its_pictures(generator, monkeypatch):
    events = list(generator.run(GenerateRequest(prompt="a", seed=1, n=2, steps=2)))
    assert [(event.done, event.total) for event in events[:-1]] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    monkeypatch.setenv("KYARA_REQUEST_COST", "7")
    settings.cache_clear()
    with pytest.raises(RequestError, match=r"costs 8 .*at most 7"):
        next(generator.run(GenerateRequest(prompt="a", n=2)))


def test_closing_the_events_stops_the_drawing(generator):
    asked = []
    predict = generator.bundle.unet.register_forward_pre_hook(lambda *_: asked.append(1))
    events = generator.run(GenerateRequest(prompt="a", n=4))
    next(events)
    events.close()
    predict.remove()
    assert len(asked) == 1

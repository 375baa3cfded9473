"""What a picture says is enough to draw it again; what others' pictures say is understood."""

import base64
import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from components.errors import RequestError
from components.image.generation import metadata
from components.image.generation.metadata import read_parameters, read_request, to_png
from components.image.generation.modes import MODES, parse
from components.image.generator import GenerateRequest
from tests.components.image.generation.pictures import base64_of, noisy, seen

PICTURE = base64_of(noisy())
REQUESTS = [
    {"prompt": "pnik hiar, smile", "seed": 7},
    {"prompt": "a", "steps": 2, "guidance_scale": 2.5, "negative_prompt": "bad, (worse:1.2)", "width": 64},
    {"mode": "image_to_image", "prompt": "a", "image": PICTURE, "strength": 0.3},
    {"mode": "inpaint", "prompt": "a", "image": PICTURE, "box": [3, 4, 20, 21], "feather": 2},
    {"mode": "upscale", "prompt": "a", "scale": 2, "strength": 0.2},
]


@pytest.mark.parametrize("values", REQUESTS)
def test_a_picture_is_drawn_again_from_its_file_alone(tiny_generator, values):
    done = tiny_generator.answer(parse(values))
    again = tiny_generator.answer(parse(read_request(done.content)))
    assert (seen(again) == seen(done)).all()
    assert again.metadata["request"] == done.metadata["request"]


def test_every_mode_without_special_needs_is_among_them():
    assert {values.get("mode", "text_to_image") for values in REQUESTS} <= set(MODES)


def test_the_words_for_other_programs(tiny_generator):
    done = tiny_generator.answer(parse(REQUESTS[2]))
    with Image.open(io.BytesIO(done.content)) as image:
        text = image.info["parameters"]
    assert "Denoising strength: 0.3, Mode: image_to_image" in text


def test_a_large_source_is_left_out_and_must_be_given_again(tiny_generator, monkeypatch):
    monkeypatch.setattr(metadata, "MOST_KEPT", 10)
    done = tiny_generator.answer(parse(REQUESTS[2]))
    values = read_request(done.content)
    assert "image" not in values
    with pytest.raises(RequestError, match="image: missing"):
        parse(values)
    assert (seen(tiny_generator.answer(parse({**values, "image": PICTURE}))) == seen(done)).all()


def test_a_source_that_was_exchanged_is_not_believed(tiny_generator):
    done = tiny_generator.answer(parse(REQUESTS[2]))
    with Image.open(io.BytesIO(done.content)) as image:
        facts, kept = image.info["kyara"], image.info["kyara_pictures"].replace(PICTURE, base64_of(noisy((64, 32))))
        text = PngInfo()
        text.add_text("kyara", facts)
        text.add_text("kyara_pictures", kept)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", pnginfo=text)
    assert "image" not in read_request(buffer.getvalue())


def test_pictures_of_the_web_ui_are_read():
    text = (
        "1girl, (smile:1.2), <lora:one:0.5>\nsecond line\nNegative prompt: bad hands, text\n"
        'Steps: 20, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 42, Size: 512x768, Model hash: "a, b", Clip skip: 2'
    )
    values = read_parameters(text)
    assert values == {
        "prompt": "1girl, (smile:1.2), <lora:one:0.5>\nsecond line", "negative_prompt": "bad hands, text", "raw": True,
        "steps": 20, "sampler": "DPM++ 2M", "guidance_scale": 7.5, "seed": 42, "width": 512, "height": 768,
    }  # fmt: skip
    assert parse(values).sampler == "dpmpp_2m"
    assert read_parameters("only words") == {"prompt": "only words", "negative_prompt": "", "raw": True}
    assert "sampler" not in read_parameters("a\nSteps: 3, Sampler: Restart") and "seed" not in read_parameters(
        "a\nSteps: 3, Seed: many"
    )


def with_text(**texts: str) -> bytes:
    buffer, info = io.BytesIO(), PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "png",
    [b"", b"hello", with_text(), with_text(kyara="{"), with_text(kyara="[]"), with_text(kyara='{"request": 3}'),
     with_text(kyara="[" * 100_000), base64.b64decode(base64_of(noisy(), "JPEG"))],
)  # fmt: skip
def test_a_file_that_says_nothing_is_refused(png):
    with pytest.raises(RequestError, match=r"does not say|no sound PNG"):
        read_request(png)


def test_facts_without_a_request_are_those_of_older_pictures():
    done = {"prompt": "a", "steps": 4, "sampler": "lcm", "guidance_scale": 1.0, "negative_prompt": "", "seed": 3}
    facts = {**done, "width": 32, "height": 32, "model_digest": "0" * 64, "model": "tiny", "kyara": "0"}
    values = read_request(to_png(Image.new("RGB", (32, 32)), facts))
    assert parse(values) == GenerateRequest(
        prompt="a", steps=4, sampler="lcm", guidance_scale=1.0, seed=3, width=32, height=32, raw=True
    )

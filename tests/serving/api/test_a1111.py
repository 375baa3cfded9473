"""The web UI's shape without a server: its requests as ours, our answers as its own."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from components.errors import RequestError
from components.image.generation.modes.image_to_image import ImageToImageRequest
from components.image.generation.modes.inpaint import InpaintRequest
from components.image.generation.pictures import decoded_mask
from serving.api import a1111
from serving.api.a1111 import ImageToImage, TextToImage, image_to_image, text_to_image
from tests.components.image.generation.pictures import base64_of, noisy
from tests.serving.api.answers import CARD, done

PLAIN = {**CARD, "mode": "none"}


def test_their_fields_become_ours_and_absent_ones_the_models_choice() -> None:
    sent = TextToImage.model_validate(
        {
            "prompt": "red hair <lora:one:0.8>", "negative_prompt": "hat", "seed": 5, "steps": 20, "cfg_scale": 7,
            "sampler_name": "Euler a", "width": 64, "height": 32, "batch_size": 2, "n_iter": 3, "unknown": [1],
        }
    )  # fmt: skip
    asked = text_to_image(sent, PLAIN)
    request = asked.request
    assert (request.prompt, request.negative_prompt) == ("red hair <lora:one:0.8>", "hat")
    assert (request.seed, request.steps, request.guidance_scale, request.sampler) == (5, 20, 7, "euler_a")
    assert (request.width, request.height, request.n) == (64, 32, 6) and asked.ignored == {}
    bare = text_to_image(TextToImage(prompt="red hair", seed=-1), CARD).request
    assert (bare.seed, bare.steps, bare.guidance_scale, bare.sampler, bare.width, bare.n) == (None,) * 5 + (1,)


def test_an_empty_prompt_is_the_trigger_word() -> None:
    assert text_to_image(TextToImage(), CARD).request.prompt == "kyarachar"


def test_what_would_change_the_picture_and_does_not_is_named() -> None:
    changing = {
        "restore_faces": True, "tiling": True, "enable_hr": True, "styles": ["comic"], "subseed_strength": 0.5,
        "scheduler": "Karras", "sampler_name": "Euler a", "alwayson_scripts": {"controlnet": {"args": ["x" * 1000]}},
        "override_settings": {"sd_model_checkpoint": "other", "CLIP_stop_at_last_layers": 2}, "seed_resize_from_w": 64,
    }  # fmt: skip
    ignored = text_to_image(TextToImage.model_validate({"prompt": "x", **changing}), CARD).ignored
    overrides = {"override_settings.sd_model_checkpoint", "override_settings.CLIP_stop_at_last_layers"}
    assert set(ignored) == (set(changing) - {"override_settings"}) | overrides
    assert ignored["styles"] == ["comic"] and len(ignored["alwayson_scripts"]) < 300


def test_values_that_ask_for_nothing_are_not_named() -> None:
    harmless = {
        "restore_faces": False, "tiling": None, "styles": [], "subseed": -1, "subseed_strength": 0, "eta": None,
        "scheduler": "Automatic", "s_noise": 1, "seed_resize_from_w": -1, "sampler_name": "lcm", "alwayson_scripts": {},
        "override_settings": {"sd_model_checkpoint": "tiny:1 [dddddddddd]"}, "save_images": True,
    }  # fmt: skip
    assert text_to_image(TextToImage.model_validate({"prompt": "x", **harmless}), CARD).ignored == {}


def test_the_samplers_fit_the_model() -> None:
    assert a1111.samplers(CARD) == ["lcm"]
    assert "lcm" not in a1111.samplers(PLAIN) and "dpmpp_2m" in a1111.samplers(PLAIN)


def test_a_picture_to_begin_with() -> None:
    sent = ImageToImage(prompt="smile", init_images=["data:image/png;base64," + base64_of(noisy())])
    request = image_to_image(sent, CARD).request
    assert isinstance(request, ImageToImageRequest) and request.strength == a1111.STRENGTH
    halved = sent.model_copy(update={"denoising_strength": 0.5})
    assert getattr(image_to_image(halved, CARD).request, "strength", None) == 0.5


@pytest.mark.parametrize("inverted", [0, 1, True])
def test_a_mask_of_any_size_marks_what_is_drawn_anew(inverted: int) -> None:
    mask = Image.new("L", (8, 8), 0)
    mask.paste(255, (0, 0, 4, 8))
    sent = ImageToImage(
        prompt="smile",
        init_images=[base64_of(noisy())],
        mask=base64_of(mask),
        mask_blur=3,
        inpainting_mask_invert=inverted,
    )
    request = image_to_image(sent, CARD).request
    assert isinstance(request, InpaintRequest) and request.feather == 6
    fitted = decoded_mask(str(request.mask), "mask")
    assert fitted.size == (32, 32)
    assert (fitted.getpixel((0, 0)), fitted.getpixel((31, 0))) == ((0, 255) if inverted else (255, 0))


@pytest.mark.parametrize("count", [0, 2])
def test_one_picture_is_expected(count: int) -> None:
    with pytest.raises(RequestError, match=f"init_images: {count} pictures were sent"):
        image_to_image(ImageToImage(prompt="x", init_images=[base64_of(noisy())] * count), CARD)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"steps": 0}, "steps: 0"), ({"batch_size": 16, "n_iter": 2}, "n: 32"), ({"seed": 2**40}, "seed")],
)
def test_wrong_values_are_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        text_to_image(TextToImage(prompt="x", **fields), CARD)


def test_the_answer_tells_what_front_ends_read() -> None:
    body = TextToImage.model_validate({"prompt": "red hair", "batch_size": 2, "tiling": True, "eta": float("nan")})
    told = a1111.answer(body, text_to_image(body, CARD), done(8, 9, warnings=["so it is."], confidence=0.9))
    pictures = [Image.open(io.BytesIO(base64.b64decode(each))) for each in told["images"]]
    assert [each.getpixel((0, 0)) for each in pictures] == [(8, 0, 0), (9, 0, 0)]
    info = json.loads(told["info"])
    wanted = {"seed": 8, "all_seeds": [8, 9], "sampler_name": "LCM", "width": 32, "index_of_first_image": 0}
    assert wanted.items() <= info.items() and info["sd_model_hash"] == "dddddddddd"
    assert [f"Seed: {seed}" in text for seed, text in zip((8, 9), info["infotexts"], strict=True)] == [True, True]
    assert info["kyara"]["warnings"] == ["so it is."] and info["kyara"]["confidence"] == 0.9
    assert info["kyara"]["ignored"]["tiling"] is True
    assert told["parameters"]["prompt"] == "red hair" and "tiling" not in told["parameters"]
    json.dumps(told, allow_nan=False)
    silent = body.model_copy(update={"send_images": False})
    assert a1111.answer(silent, text_to_image(silent, CARD), done(8))["images"] == []


def test_an_interrupted_one_tells_so() -> None:
    body = TextToImage(prompt="red hair")
    told = a1111.interrupted(body, text_to_image(body, CARD), "AAAA")
    assert told["images"] == ["AAAA"] and json.loads(told["info"])["kyara"]["interrupted"]

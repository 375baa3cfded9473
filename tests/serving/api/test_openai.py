"""OpenAI's shape without a server: their requests as ours, our answers as theirs."""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from components.errors import RequestError
from components.image.generation.modes.image_to_image import ImageToImageRequest
from components.image.generation.modes.inpaint import InpaintRequest
from components.image.generation.pictures import decoded_mask
from serving.api.openai import EditsRequest, ImagesRequest, answer, check_model, edit_request, shown, text_request
from serving.errors import NotFoundError
from tests.components.image.generation.pictures import base64_of, noisy
from tests.serving.api.answers import done


def hole(size: tuple[int, int] = (32, 32)) -> Image.Image:
    """A picture whose left half is transparent."""
    image = noisy(size).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    return image


def test_their_fields_and_ours_become_one_request() -> None:
    request = text_request(
        ImagesRequest(prompt="red hair", n=3, size="64x32", quality="high", seed=7, steps=4, user="me")
    )
    assert request.mode == "text_to_image" and (request.n, request.width, request.height) == (3, 64, 32)
    assert (request.seed, request.steps) == (7, 4)
    assert text_request(ImagesRequest(prompt="red hair", size="auto")).width is None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"response_format": "url"}, r"response_format: 'url' .* b64_json"),
        ({"background": "transparent"}, "background"),
        ({"size": "large"}, "size: 'large' is no size"),
        ({"size": "64x"}, "size"),
        ({"size": "٦٤x64"}, "size"),
        ({"size": "8x64"}, "width: 8 is wrong"),
        ({"steps": 0}, "steps: 0 is wrong"),
        ({"sampler": "magic"}, "sampler: 'magic' is wrong"),
        ({"stream": True, "n": 2}, "n: 2 pictures cannot be streamed"),
    ],
)
def test_what_cannot_be_served_is_refused_and_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        text_request(ImagesRequest(prompt="red hair", **fields))


def test_the_transparent_pixels_of_a_mask_are_drawn_anew() -> None:
    request = edit_request(EditsRequest(prompt="smile", strength=0.5), base64_of(noisy()), base64_of(hole()))
    assert isinstance(request, InpaintRequest) and request.strength == 0.5
    mask = decoded_mask(str(request.mask), "mask")
    assert mask.getpixel((0, 0)) == 255 and mask.getpixel((31, 0)) == 0


def test_without_a_mask_the_picture_is_its_own_and_an_opaque_one_may_change_everywhere() -> None:
    own = edit_request(EditsRequest(prompt="smile"), base64_of(hole()), None)
    assert isinstance(own, InpaintRequest) and decoded_mask(str(own.mask), "mask").getpixel((0, 0)) == 255
    for opaque in (noisy(), noisy().convert("RGBA")):
        assert isinstance(edit_request(EditsRequest(prompt="smile"), base64_of(opaque), None), ImageToImageRequest)


def test_a_mask_without_transparency_is_refused() -> None:
    with pytest.raises(RequestError, match="mask: it has no transparency"):
        edit_request(EditsRequest(prompt="smile"), base64_of(noisy()), base64_of(noisy()))
    with pytest.raises(RequestError, match="mask is no picture"):
        edit_request(EditsRequest(prompt="smile"), base64_of(noisy()), base64.b64encode(b"no picture").decode())


def test_one_picture_and_several_come_as_base64_with_their_seeds() -> None:
    for seeds in ((7,), (8, 9)):
        told = answer(ImagesRequest(prompt="red hair"), done(*seeds))
        assert [each["seed"] for each in told["data"]] == list(seeds)
        assert told["data"][0]["revised_prompt"] == "kyarachar, red hair" and told["size"] == "32x16"
        pictures = [Image.open(io.BytesIO(base64.b64decode(each["b64_json"]))) for each in told["data"]]
        assert [each.getpixel((0, 0)) for each in pictures] == [(seed, 0, 0) for seed in seeds]
        assert all("kyara" in each.info for each in pictures)


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_other_formats(form: str) -> None:
    rough = answer(ImagesRequest(prompt="x", output_format=form, output_compression=1), done(200))
    (picture,) = rough["data"]
    assert Image.open(io.BytesIO(base64.b64decode(picture["b64_json"]))).format == form.upper()
    assert rough["output_format"] == form


def test_another_model_is_not_found() -> None:
    check_model(None, ("tiny", "tiny:1"))
    check_model("tiny:1", ("tiny", "tiny:1"))
    with pytest.raises(NotFoundError, match=r"'gpt-image-1' does not exist. Known: tiny, tiny:1") as refused:
        check_model("gpt-image-1", ("tiny", "tiny:1"))
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(("total", "wanted"), [(4, 0), (4, 2), (4, 3), (20, 2), (2, 3)])
def test_previews_are_as_many_as_asked_and_never_the_last_step(total: int, wanted: int) -> None:
    steps = [step for step in range(1, total + 1) if shown(step, total, wanted)]
    assert len(steps) == min(wanted, total - 1) and total not in steps

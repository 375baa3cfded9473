"""The real clients against the service as it is shipped: OpenAI's package, and a web UI's front end's calls."""

import base64
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from components.artifact import point
from components.settings import settings
from flows.package import build
from flows.server import Server
from tests.components.image.generation.pictures import base64_of, noisy
from tests.promoted import home, tiny_recipe, tiny_version

KEY = "correct-horse-battery"
SLOW = {"steps": 50, "n_iter": 2, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    with home(folder):
        (folder / "keys").write_text(f"studio {KEY} 6000\nbot another-long-secret 6000\n", encoding="utf-8")
        os.environ["KYARA_KEYS"] = str(folder / "keys")
        settings.cache_clear()
        models = settings().models_dir
        version = tiny_version(models, "1")
        point(version.parent, "1")
        with Server(build(tiny_recipe(engine="eager"), version, {}), models=models) as running:
            running.wait_ready()
            yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with httpx.Client(trust_env=False) as direct:
        yield openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, http_client=direct, max_retries=0)


def opened(picture: str | None) -> Image.Image:
    assert picture is not None
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    image.load()
    return image


def file_of(image: Image.Image) -> tuple[str, bytes, str]:
    return "picture.png", base64.b64decode(base64_of(image)), "image/png"


def test_openai_draws_several_of_a_size(client: openai.OpenAI) -> None:
    told = client.images.generate(
        model="tiny", prompt="red hair, smile", n=2, size="48x32", response_format="b64_json", extra_body={"seed": 7}
    )
    assert told.data is not None
    pictures = [opened(each.b64_json) for each in told.data]
    assert [each.size for each in pictures] == [(48, 32)] * 2
    assert [json.loads(str(each.info["kyara"]))["seed"] for each in pictures] == [7, 8]
    assert told.data[0].revised_prompt == "kyarachar, red hair, smile"


def test_openai_edits_where_the_mask_is_transparent(client: openai.OpenAI) -> None:
    given = noisy()
    mask = given.convert("RGBA")
    mask.paste((0, 0, 0, 0), (0, 0, 16, 32))
    told = client.images.edit(
        image=file_of(given), mask=file_of(mask), prompt="smile", model="tiny:1", extra_body={"seed": 3, "strength": 1}
    )
    drawn = opened((told.data or [])[0].b64_json)
    left, right = (0, 0, 16, 32), (16, 0, 32, 32)
    assert drawn.crop(right).tobytes() == given.crop(right).tobytes()
    assert drawn.crop(left).tobytes() != given.crop(left).tobytes()
    whole = client.images.edit(image=[file_of(given)], prompt="smile", extra_body={"seed": 3})
    assert json.loads(str(opened((whole.data or [])[0].b64_json).info["kyara"]))["mode"] == "image_to_image"


def test_openai_streams_previews(client: openai.OpenAI) -> None:
    events: list[Any] = list(
        client.images.generate(prompt="red hair", stream=True, partial_images=2, extra_body={"seed": 7})
    )
    kinds = [event.type for event in events]
    assert kinds == [*["image_generation.partial_image"] * 2, "image_generation.completed"]
    assert [event.partial_image_index for event in events[:-1]] == [0, 1]
    assert all(opened(event.b64_json).size == (32, 32) for event in events)


def test_openai_lists_the_champion(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny:1").owned_by == "kyara"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("gpt-image-1")
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "url"}, "response_format"),
        ({"size": "33x33"}, None),
        ({"n": 99}, "n"),
        ({"extra_body": {"steps": 0}}, "steps"),
        ({"extra_body": {"colour": "red"}}, "colour"),
        ({"extra_body": {"loras": {"one": 1}}}, None),
    ],
)
def test_openai_raises_its_own_errors(client: openai.OpenAI, fields: dict[str, Any], param: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(prompt="red hair", **fields)
    assert (refused.value.type, refused.value.param) == ("invalid_request_error", param)
    assert "red hair" not in str(refused.value)


def test_openai_raises_for_a_bad_picture_and_for_wrong_keys_and_models(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="image is no picture"):
        client.images.edit(image=("x.png", b"no picture", "image/png"), prompt="smile")
    with pytest.raises(openai.NotFoundError, match="'dall-e-3' does not exist"):
        client.images.generate(prompt="red hair", model="dall-e-3")
    with pytest.raises(openai.AuthenticationError) as refused:
        client.with_options(api_key="wrong").images.generate(prompt="red hair")
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize("content", [b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"])
def test_a_broken_form_is_refused(server: Server, content: bytes) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "multipart/form-data; boundary=x"}
    response = httpx.post(f"{server.url}/v1/images/edits", content=content, headers=headers, trust_env=False)
    assert response.status_code == 400 and response.json()["error"]["type"] == "invalid_request_error"


def sdapi(server: Server, path: str, body: Any = None, key: str = KEY) -> httpx.Response:
    """As a front end calls it: with a body POST, without GET."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{server.url}/sdapi/v1/", headers=headers, timeout=120, trust_env=False) as direct:
        return direct.get(path) if body is None else direct.post(path, json=body)


def test_a_front_end_connects(server: Server) -> None:
    options = sdapi(server, "options").json()
    (model,) = sdapi(server, "sd-models").json()
    assert options["sd_model_checkpoint"] == model["title"] and model["model_name"] == "tiny:1"
    assert [each["name"] for each in sdapi(server, "samplers").json()] == ["LCM"]
    for path in ("schedulers", "loras", "sd-vae", "upscalers", "prompt-styles", "hypernetworks"):
        found = sdapi(server, path)
        assert found.status_code == 200 and isinstance(found.json(), list), path
    same = sdapi(server, "options", {"sd_model_checkpoint": model["title"], "eta_noise_seed_delta": 31337})
    assert same.json() == {"ignored": ["eta_noise_seed_delta"]}
    other = sdapi(server, "options", {"sd_model_checkpoint": "other.safetensors"})
    assert other.status_code == 400 and "tiny:1" in other.json()["detail"]
    assert sdapi(server, "options", key="wrong").status_code == 401


def test_txt2img_and_png_info(server: Server) -> None:
    sent = {"prompt": "red hair, smile", "seed": 7, "batch_size": 2, "sampler_name": "Euler a", "unknown": 1}
    told = sdapi(server, "txt2img", sent).json()
    info = json.loads(told["info"])
    assert info["all_seeds"] == [7, 8] and info["kyara"]["ignored"] == {"sampler_name": "Euler a"}
    assert opened(told["images"][0]).size == (32, 32)
    found = sdapi(server, "png-info", {"image": told["images"][1]}).json()
    assert found["info"] == info["infotexts"][1] and found["parameters"]["seed"] == 8
    again = sdapi(server, "txt2img", {**sent, "seed": 8, "batch_size": 1}).json()
    assert opened(again["images"][0]).tobytes() == opened(told["images"][1]).tobytes()
    free = json.loads(sdapi(server, "txt2img", {"prompt": "red hair", "seed": -1}).json()["info"])
    assert free["seed"] >= 0
    refused = sdapi(server, "png-info", {"image": "AAAA"})
    assert refused.status_code == 400 and "no sound PNG" in refused.json()["detail"]


def test_img2img_and_inpainting(server: Server) -> None:
    given, mask = noisy(), Image.new("L", (32, 32), 0)
    mask.paste(255, (0, 0, 16, 32))
    sent = {"prompt": "smile", "init_images": [base64_of(given)], "denoising_strength": 0.6, "seed": 3}
    whole = json.loads(sdapi(server, "img2img", sent).json()["info"])
    assert whole["denoising_strength"] == 0.6
    inside = sdapi(server, "img2img", {**sent, "mask": base64_of(mask), "inpainting_fill": 0}).json()
    right = (16, 0, 32, 32)
    drawn = opened(inside["images"][0])
    assert drawn.crop(right).tobytes() == given.crop(right).tobytes() and drawn.tobytes() != given.tobytes()
    assert json.loads(inside["info"])["kyara"]["ignored"] == {"inpainting_fill": 0}


def test_progress_is_ones_own_and_interrupting_gives_what_there_is(server: Server) -> None:
    assert sdapi(server, "progress").json()["progress"] == 0
    answers: list[httpx.Response] = []
    sent = {"prompt": "red hair", "seed": 0, **SLOW}
    drawing = threading.Thread(target=lambda: answers.append(sdapi(server, "txt2img", sent)))
    drawing.start()
    end = time.monotonic() + 60
    while not (told := sdapi(server, "progress").json())["current_image"]:
        assert drawing.is_alive() and time.monotonic() < end, [each.text[-600:] for each in answers]
    assert 0 < told["progress"] < 1 and told["state"]["sampling_steps"] == 100
    assert sdapi(server, "progress", key="another-long-secret").json()["state"]["job_count"] == 0
    headers = {"Authorization": f"Bearer {KEY}"}
    assert httpx.post(f"{server.url}/sdapi/v1/interrupt", headers=headers, trust_env=False).status_code == 200
    drawing.join()
    told = answers[0].json()
    assert answers[0].status_code == 200 and json.loads(told["info"])["kyara"]["interrupted"]
    assert opened(told["images"][0]).size == (64, 64)
    assert sdapi(server, "progress").json()["state"]["job_count"] == 0

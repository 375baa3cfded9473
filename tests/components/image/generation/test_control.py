"""Pictures under controls, on a tiny promoted model and tiny ControlNets."""

import gc
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from components.contracts import Preview
from components.errors import ModelError, RequestError
from components.image.families.bundle import load_bundle
from components.image.generation.control.networks import (
    Control,
    Controlled,
    load_controlnet,
    make_controlnet,
)
from components.image.generation.control.pose import Pose, figure
from components.image.generation.control.shelf import shelf
from components.image.generation.metadata import read_png
from components.image.generation.modes import parse
from components.image.generator import ImageGenerator
from components.settings import settings
from tests.components.image.generation.pictures import base64_of, gradient, noisy, seen
from tests.controlnets import loud_controlnet
from tests.promoted import tiny_version
from tests.tiny import RESOLUTION, tiny_model, tiny_sd15, tiny_sdxl

POSE = {"kind": "pose", "pose": {"position": [0.4, 0.5], "tilt": 10}}


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> ImageGenerator:
    folder = tmp_path_factory.mktemp("controlled")
    version = tiny_version(folder, "1")
    for kind in ("pose", "sketch"):
        loud_controlnet(tiny_sd15(), version / "controlnets" / kind, kind)
    return ImageGenerator.load(version, engine="eager", verify=False)


def ask(generator: ImageGenerator, *controls: dict[str, object], **fields: object) -> np.ndarray:
    return seen(generator.answer(request(*controls, **fields)))


def request(*controls: dict[str, object], **fields: object):
    return parse({"mode": "control", "prompt": "a girl", "seed": 1, "raw": True, "controls": controls, **fields})


def test_a_control_steers_and_a_weight_of_nothing_does_not(generator: ImageGenerator) -> None:
    free = seen(generator.answer(parse({"prompt": "a girl", "seed": 1, "raw": True})))
    steered = ask(generator, POSE)
    assert (steered != free).any() and (ask(generator, POSE) == steered).all()
    assert (ask(generator, {**POSE, "weight": 0}) == free).all()
    assert (ask(generator, {**POSE, "weight": 0.5}) != steered).any()
    assert (ask(generator, {"kind": "pose", "pose": {"mirror": True}}) != steered).any()


def test_another_engine_draws_the_same(generator: ImageGenerator) -> None:
    """The UNet runs in torch under controls; prompts and pictures go through OpenVINO."""
    fast = ImageGenerator.load(generator.promoted.folder, "openvino", "float32", verify=False)
    assert np.abs(ask(fast, POSE) - ask(generator, POSE)).max() <= 2
    assert fast.answer(request(POSE)).metadata["engine"] == "eager float32"


def test_several_add_up(generator: ImageGenerator) -> None:
    sketch = {"kind": "sketch", "image": base64_of(noisy()), "from_picture": True}
    both = ask(generator, POSE, sketch)
    assert (both != ask(generator, POSE)).any() and (both != ask(generator, sketch)).any()
    assert (both == ask(generator, sketch, POSE)).all()


def test_there_is_one_unet(generator: ImageGenerator) -> None:
    """No mode has a second copy."""

    def unets() -> set[int]:
        gc.collect()
        return {id(each) for each in gc.get_objects() if type(each) is UNet2DConditionModel}

    before = unets()
    ask(generator, POSE)
    assert unets() == before and id(generator.bundle.unet) in before


def test_without_residuals_the_unet_says_what_it_said(generator: ImageGenerator) -> None:
    """A fresh ControlNet changes nothing: its convolutions are zeros."""
    bundle = generator.bundle
    x, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    condition = bundle.encode_prompts(["smile"])
    fresh = Controlled(bundle, [Control(make_controlnet(bundle).eval(), torch.rand(1, 3, RESOLUTION, RESOLUTION))])
    with torch.no_grad():
        assert torch.equal(fresh.predict(x, t, condition), bundle.predict(x, t, condition))


def test_previews_cancel_and_metadata(generator: ImageGenerator) -> None:
    events = generator.run(request(POSE, steps=3), previews=True)
    first = next(events)
    assert isinstance(first, Preview) and (first.done, first.total) == (1, 3) and first.content
    events.close()
    done = generator.answer(request(POSE, {"kind": "sketch", "image": base64_of(noisy())}))
    facts = read_png(done.content)
    assert facts["mode"] == "control" and facts["engine"].startswith("eager")
    told = facts["request"]["controls"]
    assert told[0]["pose"]["position"] == [0.4, 0.5] and told[1]["image"].startswith("sha256:")


def test_a_figure_and_a_drawing_are_shown_as_they_are(generator: ImageGenerator) -> None:
    """A pose by numbers and its figure steer alike; a drawing is taken black on white as white on black."""
    pose = Pose(position=(0.4, 0.5), tilt=10)
    drawn = base64_of(figure(pose.keypoints(), (RESOLUTION, RESOLUTION)))
    assert (ask(generator, {"kind": "pose", "image": drawn}) == ask(generator, POSE)).all()
    lines = Image.new("L", (RESOLUTION, RESOLUTION))
    lines.paste(255, (8, 4, 10, 28))
    inverted = lines.point(lambda value: 255 - value)
    asked = [{"kind": "sketch", "image": base64_of(each)} for each in (lines, inverted)]
    assert (ask(generator, asked[0]) == ask(generator, asked[1])).all()


def test_with_guidance_both_halves_are_steered(tmp_path: Path) -> None:
    """A model that is not distilled: 20 steps, asked twice a step."""
    version = tiny_version(tmp_path, "1")
    loud_controlnet(tiny_sd15(), version / "controlnets" / "pose", "pose")
    card = json.loads((version / "model.json").read_text())
    (version / "model.json").write_text(json.dumps({**card, "mode": "none", "steps": 3, "guidance": 4.0}))
    generator = ImageGenerator.load(version, engine="eager", verify=False)
    free = seen(generator.answer(parse({"prompt": "a girl", "seed": 1, "raw": True})))
    assert (ask(generator, POSE) != free).any()


def test_it_costs_more(generator: ImageGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KYARA_REQUEST_COST", "5")
    settings.cache_clear()
    seen(generator.answer(parse({"prompt": "a girl", "seed": 1, "raw": True})))
    with pytest.raises(RequestError, match="costs 6"):
        ask(generator, POSE)


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        ({"kind": "pose"}, "either an image or"),
        ({"kind": "sketch", "pose": {}}, "numbers are for kind 'pose'"),
        ({"kind": "picture", "image": "AAAA"}, "needs a model"),
        ({"kind": "dance", "image": "AAAA"}, "controls.0.kind"),
        ({**POSE, "weight": 3}, "controls.0.weight"),
        ({"kind": "pose", "pose": {"tilt": 400}}, "controls.0.pose.tilt"),
        ({"kind": "pose", "pose": {"position": [0.1, float("nan")]}}, "controls.0.pose.position"),
        ({"kind": "sketch", "image": base64_of(noisy())[:40]}, "controls.0.image"),
        ({**POSE, "model": "/etc"}, "ControlNet '/etc' is unknown"),
        ({**POSE, "model": "sketch"}, "steered by a sketch, not by a pose"),
    ],
)
def test_wrong_controls_are_one_clear_error(generator: ImageGenerator, control: dict[str, object], reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        ask(generator, control)


def test_no_face_is_said(generator: ImageGenerator) -> None:
    """The tiny reader sees a face in nothing."""
    with pytest.raises(RequestError, match="no face is found"):
        ask(generator, {"kind": "pose", "image": base64_of(gradient()), "from_picture": True})


def test_a_model_without_controlnets_says_how_to_get_one(tiny_generator: ImageGenerator, home: Path) -> None:
    with pytest.raises(RequestError, match=r"no ControlNet for kind 'pose'.*kyara produce control-pose"):
        ask(tiny_generator, POSE)


def test_a_public_one_is_named_by_the_owner(
    tiny_generator: ImageGenerator, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = loud_controlnet(tiny_sd15(), tmp_path / "public")
    monkeypatch.setenv("KYARA_CONTROLNETS", f"somebody/something, {folder}")
    settings.cache_clear()
    assert [each.name for each in shelf()] == ["somebody/something", str(folder)]
    control = {"kind": "picture", "image": base64_of(noisy()), "model": str(folder)}
    free = seen(tiny_generator.answer(parse({"prompt": "a girl", "seed": 1, "raw": True})))
    assert (ask(tiny_generator, control) != free).any()


def test_another_family_is_one_error(
    tiny_generator: ImageGenerator, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = loud_controlnet(tiny_sdxl(), tmp_path / "xl")
    monkeypatch.setenv("KYARA_CONTROLNETS", str(folder))
    settings.cache_clear()
    with pytest.raises(RequestError, match=r"another family.*width of the text's states 64 instead of 32"):
        ask(tiny_generator, {"kind": "picture", "image": base64_of(noisy()), "model": str(folder)})


def test_it_steers_sdxl(tmp_path: Path) -> None:
    bundle = load_bundle(tiny_model(tiny_sdxl()))
    net = load_controlnet(str(loud_controlnet(tiny_sdxl(), tmp_path / "xl")), bundle)
    x, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([500, 500])
    condition = bundle.encode_prompts(["smile", "hat"])
    controls = [Control(net, torch.rand(1, 3, RESOLUTION, RESOLUTION), weight) for weight in (1.0, 0.0)]
    with torch.no_grad():
        one, none = (Controlled(bundle, [control]).predict(x, t, condition) for control in controls)
        assert torch.equal(none, bundle.predict(x, t, condition)) and not torch.allclose(one, none)


def test_a_damaged_one_is_one_error(tmp_path: Path) -> None:
    bundle = load_bundle(tiny_model(tiny_sd15()))
    with pytest.raises(ModelError, match="no such folder"):
        load_controlnet("./nowhere", bundle)
    folder = loud_controlnet(tiny_sd15(), tmp_path / "damaged")
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_controlnet(str(folder), bundle)


def test_with_low_memory_it_draws_the_same(
    generator: ImageGenerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = ask(generator, POSE)
    monkeypatch.setenv("KYARA_LOW_MEMORY", "true")
    settings.cache_clear()
    fresh = ImageGenerator.load(generator.promoted.folder, engine="eager", verify=False)
    assert np.abs(ask(fresh, POSE) - wanted).max() <= 2
    assert any("Sliced" in type(each).__name__ for each in fresh.bundle.unet.attn_processors.values())

"""Moving in latents: round trips, spheres, sliders, styles, sums."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from components.errors import DataError, RequestError
from components.image.families.bundle import load_bundle
from components.image.generation.directions import Directions, learn
from components.image.generation.latent_editor import (
    LatentSpaceEditor,
    combine,
    load_latents,
    mix_style,
    save_latents,
    slerp,
)
from tests.tiny import LATENTS, tiny_model, tiny_sd15


@pytest.fixture(scope="module")
def editor():
    bundle = load_bundle(tiny_model(tiny_sd15(v_prediction=True)))
    with torch.no_grad():
        bundle.unet.conv_out.weight.mul_(0.1)  # random weights answer more wildly than a trained model
    return LatentSpaceEditor(bundle)


def flat(*color, side=32):
    return Image.new("RGB", (side, side), color)


def labelled(count=24):
    """Latents whose first channel tells the colour and whose second the mood; both are told, sometimes together."""
    generator = torch.Generator().manual_seed(0)
    latents = 0.1 * torch.randn(count, *LATENTS, generator=generator)
    labels = []
    for at in range(count):
        color, mood = ("red", "blue")[at % 2], ("smile", "frown")[at % 3 == 0]
        latents[at, 0] += 2 * (color == "red")
        latents[at, 1] += 3 * (mood == "smile")
        labels.append({"color": color, "mood": mood})
    return latents, labels


def test_pictures_to_latents_and_back(editor):
    latents = editor.encode([flat(200, 10, 10), flat(10, 10, 200)])
    assert latents.shape == (2, *LATENTS)
    assert [picture.size for picture in editor.decode(latents)] == [(32, 32)] * 2


@pytest.mark.parametrize("pictures", [[], [flat(0), flat(0, side=64)], [flat(0, side=30)]])
def test_pictures_that_do_not_go_together_are_refused(editor, pictures):
    with pytest.raises(RequestError, match="size"):
        editor.encode(pictures)


def test_a_picture_that_is_inverted_is_drawn_again(editor):
    pictures = [flat(200, 120, 10)]
    inverted = editor.invert(pictures, ["a girl"], steps=10)
    own = np.asarray(editor.decode(editor.encode(pictures))[0]).astype(int)
    again = np.asarray(editor.redraw(inverted, ["a girl"])[0]).astype(int)
    assert np.abs(own - again).max() <= 8


def test_slerp_ends_at_its_ends_and_keeps_the_length():
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 3, 4, 8, 8, generator=generator)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    middle = slerp(a, b, 0.5).flatten(1).norm(dim=1)
    mean = (a.flatten(1).norm(dim=1) + b.flatten(1).norm(dim=1)) / 2
    torch.testing.assert_close(middle, mean)
    assert (torch.lerp(a, b, 0.5).flatten(1).norm(dim=1) < 0.8 * mean).all()


def test_slerp_walks_the_arc_evenly():
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    third = slerp(x, y, 1 / 3)[0]
    torch.testing.assert_close(third, torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]))


def test_slerp_of_what_points_one_way_is_straight():
    a = torch.ones(1, 4)
    torch.testing.assert_close(slerp(a, 3 * a, 0.25), 1.5 * a)
    assert torch.isfinite(slerp(a, -a, 0.5)).all() and torch.isfinite(slerp(a, 0 * a, 0.5)).all()


def test_a_style_is_its_channels_means_and_deviations():
    content, style = torch.randn(1, 4, 8, 8), 3 * torch.randn(1, 4, 16, 16) + 2
    mixed = mix_style(content, style)
    torch.testing.assert_close(mixed.mean((-2, -1)), style.mean((-2, -1)))
    torch.testing.assert_close(mixed.std((-2, -1)), style.std((-2, -1)))
    torch.testing.assert_close(mix_style(content, style, 0.0), content)


def test_sums():
    a, b = torch.ones(1, 2, 2, 2), torch.full((1, 2, 2, 2), 3.0)
    torch.testing.assert_close(combine([(1, a), (-1, b), (2, b)]), 4 * a)
    for wrong in ([(1.0, a), (1.0, torch.ones(1, 2, 4, 4))], []):
        with pytest.raises(RequestError, match="shape"):
            combine(wrong)


def test_latents_are_kept_by_name(tmp_path):
    saved = {"miku": torch.randn(*LATENTS), "plain": torch.zeros(*LATENTS)}
    save_latents(tmp_path / "saved.safetensors", saved)
    found = load_latents(tmp_path / "saved.safetensors")
    assert found.keys() == saved.keys()
    torch.testing.assert_close(found["miku"], saved["miku"])
    (tmp_path / "damaged.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(DataError, match="damaged"):
        load_latents(tmp_path / "damaged.safetensors")


@pytest.mark.parametrize("method", ["mean", "ridge"])
def test_directions_find_what_the_labels_tell(method):
    latents, labels = labelled()
    found = learn(latents, labels, base="tiny", method=method)
    assert list(found.sliders) == ["color=blue", "color=red", "mood=frown", "mood=smile"]
    red, smile = found.sliders["color=red"], found.sliders["mood=smile"]
    assert red[0].mean() == pytest.approx(2, abs=0.3) and smile[1].mean() == pytest.approx(3, abs=0.4)
    torch.testing.assert_close(red, -found.sliders["color=blue"])
    assert red[2:].abs().mean() < 0.1


def test_the_regression_keeps_attributes_apart_that_come_together():
    latents, labels = labelled(40)
    together = [row for row, one in enumerate(labels) if (one["color"] == "red") == (one["mood"] == "smile")]
    some = sorted({*together, *range(8)})  # mostly red with smile, blue with frown
    chosen = latents[some], [labels[row] for row in some]
    leaks = {
        method: float(learn(*chosen, base="tiny", method=method).sliders["color=red"][1].mean().abs())
        for method in ("mean", "ridge")
    }
    assert leaks["ridge"] < leaks["mean"] / 2


def test_sliders_move_and_are_kept(editor, tmp_path):
    directions = learn(*labelled(), base="tiny")
    directions.save(tmp_path / "sliders.safetensors")
    again = Directions.load(tmp_path / "sliders.safetensors", LATENTS)
    assert (again.base, again.method, again.count) == ("tiny", "ridge", 24)
    latents = torch.zeros(2, *LATENTS)
    moved = editor.move(latents, {"color=red": 1.0, "mood=smile": -0.5}, again)
    wanted = directions.sliders["color=red"] - 0.5 * directions.sliders["mood=smile"]
    torch.testing.assert_close(moved[1], wanted, atol=5e-3, rtol=0)
    larger = editor.move(torch.zeros(1, 4, 16, 8), {"color=red": 1.0}, again)
    assert larger.shape == (1, 4, 16, 8)
    assert larger.mean() == pytest.approx(float(again.sliders["color=red"].mean()), abs=1e-3)


def test_unknown_sliders_and_foreign_files_are_named(tmp_path):
    directions = learn(*labelled(), base="tiny")
    with pytest.raises(RequestError, match=r"'wings=two'.*color=red"):
        directions.step({"wings=two": 1.0}, torch.zeros(1, *LATENTS))
    path = tmp_path / "sliders.safetensors"
    directions.save(path)
    with pytest.raises(DataError, match=r"\(4, 64, 64\)"):
        Directions.load(path, (4, 64, 64))
    save_latents(path, {"a": torch.zeros(*LATENTS)})
    with pytest.raises(DataError, match="no sliders"):
        Directions.load(path, LATENTS)
    with pytest.raises(DataError, match="cannot be read"):
        Directions.load(tmp_path / "nowhere", LATENTS)


def test_too_few_labels_are_refused():
    with pytest.raises(DataError, match="too few"):
        learn(torch.zeros(3, *LATENTS), [{"mood": "smile"}] * 3, base="tiny")

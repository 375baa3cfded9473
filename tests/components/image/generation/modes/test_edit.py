"""CharacterTransformer on a tiny promoted model: words, masks, given and drawn pictures."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from components.contracts import Preview
from components.errors import RequestError
from components.image.generation.metadata import read_png, read_request
from components.image.generation.modes import parse
from components.image.generation.modes.edit import EditRequest
from components.image.generation.pictures import picture_of
from components.image.generator import GenerateRequest
from components.portraits.plugin import open_judge
from components.settings import settings
from tests.components.image.generation.pictures import base64_of, gradient, seen
from tests.tiny import tiny_judge


def asked(**fields):
    return EditRequest(**{"prompt": "pink hair, smile", "seed": 3, "change": {"expression": "frown"}, **fields})


def test_a_drawn_picture_is_drawn_first_and_then_changed(tiny_generator):
    events = list(tiny_generator.run(asked()))
    assert [(event.done, event.total) for event in events[:-1]] == [(done, 8) for done in range(1, 9)]
    facts = events[-1].metadata
    assert facts["before"] == "kyarachar, pink hair, smile" and facts["prompt"] == "kyarachar, pink hair, frown"
    assert facts["mode"] == "edit" and 0 < facts["covered"] <= 1
    assert read_png(events[-1].content) == facts
    again = tiny_generator.answer(asked())
    assert again.content == events[-1].content


@pytest.mark.parametrize("mask", ["difference", "attention"])
def test_outside_the_mask_not_one_bit_changes(tiny_generator, mask):
    done = tiny_generator.answer(asked(image=base64_of(gradient()), mask=mask, strength=1.0))
    before = np.asarray(gradient()).astype(int)
    same = (seen(done) == before).all(axis=-1)
    if done.metadata["covered"] < 1:
        assert same.any()
    assert not same.all()


def test_without_a_mask_everything_is_drawn(tiny_generator):
    """Then it is the other prompt at the same seed."""
    edited = tiny_generator.answer(asked(mask="none"))
    other = tiny_generator.answer(GenerateRequest(prompt="pink hair, frown", seed=3))
    assert np.array_equal(seen(edited), seen(other))


def test_strength_zero_gives_the_picture_back(tiny_generator):
    done = tiny_generator.answer(asked(image=base64_of(gradient()), strength=0))
    through_vae = tiny_generator.answer(parse({"mode": "image_to_image", "image": base64_of(gradient()),
                                               "prompt": "a", "strength": 0, "seed": 3}))  # fmt: skip
    own, vae, found = (np.asarray(each).astype(int) for each in (gradient(), seen(through_vae), seen(done)))
    low, high = np.minimum(own, vae) - 1, np.maximum(own, vae) + 1
    assert ((found >= low) & (found <= high)).all()


def test_a_picture_of_ours_says_itself_what_it_shows(tiny_generator):
    drawn = tiny_generator.answer(GenerateRequest(prompt="pink hair, smile", seed=5))
    done = tiny_generator.answer(asked(prompt="", image=picture_of(drawn.content)))
    assert done.metadata["before"] == "kyarachar, pink hair, smile"
    assert done.metadata["prompt"] == "kyarachar, pink hair, frown"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": "", "image": base64_of(gradient())}, "Say what the picture shows"),
        ({"prompt": ""}, "Say what the picture shows"),
        ({"change": {"wings": "two"}}, "'wings'.*expression"),
        ({"change": {"expression": "furious"}}, "smile, laugh, frown"),
        ({"mask": "judge"}, "judge"),
    ],
)
def test_what_cannot_be_edited_is_said(tiny_generator, fields, said):
    with pytest.raises(RequestError, match=said):
        tiny_generator.answer(asked(**fields))


@pytest.mark.parametrize("fields", [{"strength": 1.5}, {"change": {}}, {"mask": "guess"}, {"change": {"a": 1}}])
def test_wrong_values_are_refused_before_a_model_is_loaded(fields):
    with pytest.raises(RequestError, match=next(iter(fields))):
        asked(**fields)


def test_a_judge_that_points(tiny_generator, tmp_path, monkeypatch):
    judge = open_judge(SimpleNamespace(style="", base_style=""), {"judge": tiny_judge(tmp_path / "judge")})
    monkeypatch.setitem(tiny_generator.__dict__, "judge", judge)
    done = tiny_generator.answer(asked(mask="judge", image=base64_of(gradient())))
    assert 0 < done.metadata["covered"] <= 1
    with pytest.raises(RequestError, match="does not fit this change"):
        tiny_generator.answer(asked(mask="judge", change={"pink": "bright"}))


def test_an_edit_is_drawn_again_from_its_metadata(tiny_generator):
    done = tiny_generator.answer(asked(image=base64_of(gradient()), seed=None))
    again = tiny_generator.answer(parse(read_request(done.content)))
    assert np.array_equal(seen(again), seen(done))


def test_masks_count(tiny_generator, monkeypatch):
    monkeypatch.setenv("KYARA_REQUEST_COST", "10")
    settings.cache_clear()
    tiny_generator.answer(asked(mask="none"))
    with pytest.raises(RequestError, match="costs 16"):
        tiny_generator.answer(asked())


def test_closing_the_iterator_stops(tiny_generator):
    events = tiny_generator.run(asked())
    assert isinstance(next(events), Preview)
    events.close()
    assert list(events) == []


def test_previews_are_pictures(tiny_generator):
    *previews, _ = tiny_generator.run(asked(image=base64_of(gradient())), previews=True)
    assert [Image.open(io.BytesIO(event.content)).size for event in previews] == [(32, 32)] * len(previews)

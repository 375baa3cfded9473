"""Cross-attention maps of tiny models, and the masks that are made of maps."""

import math

import pytest
import torch

from components.image.families.bundle import load_bundle
from components.image.generation.attention import attention_map, token_places
from components.image.generation.locating import otsu, to_mask
from tests.tiny import tiny_model, tiny_sd15, tiny_sdxl


def test_places_of_words():
    bundle = load_bundle(tiny_model(tiny_sd15()))
    length = len(bundle.tokenizers[0]("a pink hat", add_special_tokens=False).input_ids)
    first = token_places(bundle, "a pink hat", "a")
    assert first[0] == 1  # behind the start mark
    assert token_places(bundle, "a pink hat", "pink hat")[-1] == length
    assert len(token_places(bundle, "hat, hat", "hat")) == 2 * len(token_places(bundle, "hat", "hat"))
    assert token_places(bundle, "a pink hat", "red") == []


@pytest.mark.parametrize("base", [tiny_sd15, tiny_sdxl])
@pytest.mark.parametrize("size", [(8, 8), (16, 8)])
def test_a_map_shows_the_picture_and_leaves_the_model_as_it_was(base, size):
    bundle = load_bundle(tiny_model(base()))
    clean = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(1))
    condition = bundle.encode_prompts(["a pink hat"])
    at = torch.full((1,), 500)
    before = bundle.predict(noise, at, condition)
    found = attention_map(bundle, clean, noise, condition, token_places(bundle, "a pink hat", "pink"))
    assert found.shape == (1, 1, *size)
    assert float(found.min()) == 0 and float(found.max()) == pytest.approx(1)
    assert torch.equal(bundle.predict(noise, at, condition), before)
    assert not any(part._forward_pre_hooks for part in bundle.unet.modules())
    other = attention_map(bundle, clean, noise, condition, token_places(bundle, "a pink hat", "a"))
    assert (found - other).abs().max() > 1e-3


def test_all_words_together_are_attended_everywhere_alike():
    """Shares of a place over all tokens are 1."""
    bundle = load_bundle(tiny_model(tiny_sd15()))
    condition = bundle.encode_prompts(["a"])
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    found = attention_map(bundle, clean, clean, condition, range(condition.hidden.shape[1]))
    assert torch.isfinite(found).all()


def test_otsu_parts_two_heaps():
    values = torch.cat([torch.full((60,), 0.1), torch.full((40,), 0.8)])
    assert 0.1 <= otsu(values) < 0.8


def test_a_mask_covers_what_was_found_and_a_border():
    found = torch.zeros(1, 1, 32, 32)
    found[..., 10:16, 10:16] = 1
    mask = to_mask(found, grown=2, soft=1.0)
    assert (mask[..., 9:17, 9:17] == 1).all()
    assert 0 < mask[0, 0, 12, 18] < 1 and mask[0, 0, 12, 25] < 1e-3
    assert mask.max() <= 1


@pytest.mark.parametrize("found", [torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5)])
def test_where_nothing_stands_out_everything_may_change(found):
    assert (to_mask(found) == 1).all()
    assert math.isfinite(otsu(found))

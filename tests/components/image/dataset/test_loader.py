"""Reading the dataset stage's cache."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from components.errors import DataError
from components.image.dataset.encode import encode_captions
from components.image.dataset.loader import BatchOrder, CachedDataset, caption_key
from components.image.families.bundle import load_bundle
from components.runlog import SilentLog
from tests.tiny import tiny_dataset, tiny_model, tiny_sd15, tiny_sdxl


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("dataset"), tiny_sd15())


def test_splits_are_disjoint(folder: Path) -> None:
    training, held_out = CachedDataset.open(folder, "train"), CachedDataset.open(folder, "val")
    assert (len(training), len(held_out)) == (8, 2)
    assert not set(training.ids) & set(held_out.ids)
    assert training.latents[0].shape == (4, 8, 8)


def test_every_epoch_takes_each_sample_once_in_its_own_order(folder: Path) -> None:
    data = CachedDataset.open(folder, "train")
    orders = [data.batches(epoch, 3, seed=1) for epoch in range(3)]
    assert all(sorted(chain.from_iterable(order)) == list(range(8)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert orders == [data.batches(epoch, 3, seed=1) for epoch in range(3)]
    assert len(data.batches(0, 3, seed=1, multiple=4)) == 4


def test_batches_by_number_equal_the_epochs(folder: Path) -> None:
    data = CachedDataset.open(folder, "train")
    order = BatchOrder(data, 3, seed=1)
    expected = [batch for epoch in range(3) for batch in data.batches(epoch, 3, seed=1)]
    assert [order[number] for number in range(9)] == expected
    assert order[2] == expected[2], "going back is allowed"


def test_sizes_are_never_mixed(folder: Path) -> None:
    data = CachedDataset.open(folder, "train")
    shapes = tuple(torch.zeros(4, 8, 8 if number % 3 else 12) for number in range(8))
    data = CachedDataset(data.index, data.samples, shapes, data.text)
    for batch in data.batches(0, 2, seed=0):
        assert len({shapes[number].shape for number in batch}) == 1


def test_captions_are_emptied_at_the_asked_share(folder: Path) -> None:
    data = CachedDataset.open(folder, "train")
    empty = data.condition("").hidden[0]
    drawn = [data.batch([0] * 100, torch.Generator().manual_seed(seed), empty_share=0.3)[1].hidden for seed in range(5)]
    emptied = sum(bool((row == empty).all()) for rows in drawn for row in rows)
    assert 110 < emptied < 190
    variants = {tuple(row.flatten()[:500].tolist()) for row in drawn[0]}
    assert len(variants) == 3, "both variants and the empty caption"


def test_sdxl_has_pooled_text(tmp_path: Path) -> None:
    data = CachedDataset.open(tiny_dataset(tmp_path, tiny_sdxl(), count=4), "train")
    condition = data.condition("", data.captions[0][0])
    assert condition.pooled is not None
    assert condition.pooled.shape == (2, 32)


def test_a_caption_without_embedding_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no cached text embedding.*never seen"):
        CachedDataset.open(folder, "train").condition("never seen")


def test_damage_and_absence_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        CachedDataset.open(tmp_path, "train")
    tiny_dataset(tmp_path, tiny_sd15(), count=2)
    with pytest.raises(DataError, match="no picture to train on"):
        CachedDataset.open(tmp_path, "train")
    file = tmp_path / "latents.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="run the dataset stage again"):
        CachedDataset.open(tmp_path, "train")


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_captions_of_mixed_length_are_what_serving_encodes(tmp_path: Path, make: Callable[[], Path]) -> None:
    """The tiny tokenizer makes a token a letter: 231 and 79 tokens behind short ones, and the empty caption."""
    bundle = load_bundle(tiny_model(make()))
    captions = ["kyara, smile", "long " * 46, "", "a tag, " * 11]
    text = encode_captions(bundle, captions, SilentLog())
    assert text[f"{caption_key('kyara, smile')}.hidden"].shape[0] == 77, "padded only where a batch needs it"
    data = CachedDataset({}, (), (), text)
    found, expected = data.condition(*captions), bundle.encode_prompts(captions)
    assert found.hidden.shape[1] == 3 * 77
    torch.testing.assert_close(found.hidden, expected.hidden)
    torch.testing.assert_close(found.pooled, expected.pooled)
    torch.testing.assert_close(data.condition("").beside(found).hidden, bundle.encode_prompts([""] * 4, 3).hidden)


def test_a_caption_beyond_what_serving_reads_is_cut_with_a_warning() -> None:
    class Warnings(SilentLog):
        texts: ClassVar[list[str]] = []

        def warn(self, text: str) -> None:
            self.texts.append(text)

    text = encode_captions(load_bundle(tiny_model(tiny_sd15())), ["x" * 700], Warnings())
    assert text[f"{caption_key('x' * 700)}.hidden"].shape[0] == 8 * 77
    assert "1 caption(s) are longer than 600 tokens and are cut" in Warnings.texts[0]


def test_sdxl_is_told_how_a_picture_was_cropped(tmp_path: Path) -> None:
    data = CachedDataset.open(tiny_dataset(tmp_path, tiny_sdxl(), count=4), "train")
    bundle = load_bundle(tiny_model(tiny_sdxl()))
    condition = data.condition(data.captions[0][0]).sized(data.sizes([0]))
    told = bundle.family.added(bundle, condition, data.latents[0][None])
    assert told is not None
    assert told["time_ids"].tolist() == [[32, 64, 0, 16, 32, 32]]
    drawn = bundle.family.added(bundle, condition.sized(None), data.latents[0][None])
    assert drawn is not None
    assert drawn["time_ids"].tolist() == [[32, 32, 0, 0, 32, 32]]

"""Prompts in chunks and with weights, against the tokenizers themselves and by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from components.image.families.bundle import Bundle, load_bundle
from components.image.families.syntax import HEAVIEST, parts
from components.image.families.text import chunks_for, count_tokens, encoded, tokenize
from tests.tiny import tiny_model, tiny_sd15, tiny_sdxl

LONG = ", ".join(f"pink hair {number}" for number in range(60))


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    make: Callable[[], Path] = request.param
    return load_bundle(tiny_model(make()))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [("", 1.0)]),
        ("a cat", [("a cat", 1.0)]),
        ("a, (b c:1.25), d", [("a, ", 1.0), ("b c", 1.25), (", d", 1.0)]),
        ("(a:0.5)(b: 1)", [("a", 0.5), ("b", 1.0)]),
        ("saber (fate)", [("saber (fate)", 1.0)]),
        ("(a:99)", [("a", HEAVIEST)]),
        ("(:1.2) (a:-1) ((a:b):1.2)", [("(:1.2) (a:-1) ((a:b):1.2)", 1.0)]),
    ],
)
def test_weights_are_read_and_other_brackets_are_text(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert parts(prompt) == expected


@pytest.mark.parametrize("prompt", ["", "a girl, pink hair", LONG])
def test_one_chunk_is_what_the_tokenizer_gives(bundle: Bundle, prompt: str) -> None:
    for tokenizer in bundle.tokenizers:
        theirs = tokenizer(
            [prompt], padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        ours = tokenize(tokenizer, [prompt])
        assert torch.equal(ours.ids[:, 0], theirs)
        assert ours.plain


def test_chunks_hold_everything_in_order(bundle: Bundle) -> None:
    tokenizer = bundle.tokenizers[0]
    chunks = bundle.chunks_for(LONG, "a")
    ids = tokenize(tokenizer, [LONG, "a"], chunks).ids
    assert (chunks > 1, ids.shape) == (True, (2, chunks, 77))
    words = tokenizer(LONG, add_special_tokens=False).input_ids
    inside = ids[0, :, 1:76].flatten().tolist()
    assert inside[: len(words)] == words
    assert count_tokens(tokenizer, LONG) == len(words)
    assert (ids[:, :, 0] == tokenizer.bos_token_id).all()


def test_how_many_chunks_a_prompt_needs() -> None:
    assert [chunks_for(count, 77) for count in (0, 1, 75, 76, 150, 151)] == [1, 1, 1, 2, 2, 3]


def test_a_long_prompt_is_read_to_its_end(bundle: Bundle) -> None:
    chunks = bundle.chunks_for(LONG)
    whole, other = (bundle.encode_prompts([text], chunks) for text in (LONG, f"{LONG[:-2]}, a cat"))
    assert whole.hidden.shape[1] == 77 * chunks
    assert torch.equal(whole.hidden[:, :77], bundle.encode_prompts([LONG], 1).hidden)
    assert not torch.allclose(whole.hidden, other.hidden)
    latents = torch.zeros(1, bundle.latent_channels, 8, 8)
    assert bundle.predict(latents, torch.tensor([500]), whole).shape == latents.shape


def test_the_others_of_a_batch_change_nothing(bundle: Bundle) -> None:
    alone = bundle.encode_prompts(["a cat"], 2)
    together = bundle.encode_prompts([LONG, "a cat"], 2)
    torch.testing.assert_close(together.hidden[1:], alone.hidden, atol=1e-5, rtol=1e-5)
    if alone.pooled is not None and together.pooled is not None:
        torch.testing.assert_close(together.pooled[1:], alone.pooled, atol=1e-5, rtol=1e-5)


def test_weights_move_words_away_from_the_empty_prompt(bundle: Bundle) -> None:
    plain, heavy, one = (bundle.encode_prompts([f"a {text}"]) for text in ("cat", "(cat:1.5)", "(cat:1)"))
    assert bundle.count_tokens("a cat") == bundle.count_tokens("a (cat:1.5)")
    assert torch.equal(plain.hidden, one.hidden)
    moved = (plain.hidden - heavy.hidden).abs().sum(-1)[0] > 0
    first = 1 + bundle.count_tokens("a ")
    assert moved.nonzero().flatten().tolist() == list(range(first, 1 + bundle.count_tokens("a cat")))


def test_weighing_by_hand() -> None:
    class Tokenizer:
        bos_token_id, eos_token_id, pad_token_id, model_max_length = 1, 2, 0, 5

        def __call__(self, text: str, **_: object) -> "Tokenizer":
            self.input_ids = [10 + int(word) for word in text.split()]
            return self

    prompts = ["3 (4:1.5) 5", "6"]
    tokens = tokenize(Tokenizer(), prompts)
    assert tokens.ids.tolist() == [[[1, 13, 14, 15, 2]], [[1, 16, 2, 0, 0]]]
    assert tokens.weights.tolist() == [[[1, 1, 1.5, 1, 1]], [[1, 1, 1, 1, 1]]]

    hidden = encoded(Tokenizer(), prompts, 1, lambda ids: ids[..., None].float())
    assert hidden[0, :, 0].tolist() == [1, 13, 1.5 * 14, 15, 2], "the empty prompt's state at this place is 0"
    assert hidden[1, :, 0].tolist() == [1, 16, 2, 0, 0]

"""Captions as tools and people write them."""

from pathlib import Path

import pytest

from components.errors import DataError
from components.image.dataset import captions


@pytest.mark.parametrize(
    "content",
    [
        "黒髪, smile".encode(),
        "黒髪, smile".encode("utf-8-sig"),
        "黒髪, smile".encode("cp932"),
        "黒髪, smile".encode("utf-16"),
        "黒髪,\r\n smile ,\r\n".encode(),
    ],
)
def test_encodings_and_line_ends(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert captions.sidecar_caption(tmp_path / "a.png") == "黒髪, smile"


def test_no_text_at_all_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\x81\x00\x81")
    with pytest.raises(DataError, match=r"a\.txt.*neither UTF-8 nor Shift-JIS"):
        captions.sidecar_caption(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["b.txt", "b.caption", "b.png.txt"])
def test_sidecar_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("red hair", encoding="utf-8")
    assert captions.sidecar_caption(tmp_path / "b.png") == "red hair"
    assert captions.sidecar_caption(tmp_path / "c.png") == ""


def test_metadata_rows(tmp_path: Path) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"file_name": "a.png", "text": "x"}\n\n{"file_name": "d/b.png", "tags": ["x", "y"]}\n', "utf-8")
    rows = captions.read_metadata(path)
    assert {name: captions.metadata_caption(row) for name, row in rows.items()} == {"a.png": "x", "d/b.png": "x, y"}


@pytest.mark.parametrize(("line", "said"), [("{broken", "line 2, is not JSON"), ('{"text": "x"}', "line 2, names no")])
def test_broken_metadata_names_the_line(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "metadata.jsonl").write_text(f'{{"file_name": "a.png"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match=said):
        captions.read_metadata(tmp_path / "metadata.jsonl")


def test_tags_are_shuffled_behind_the_trigger() -> None:
    found = captions.variants("a1, b2, c3, d4", "kyara", 4, "seed")
    assert found[0] == "kyara, a1, b2, c3, d4"
    assert len(set(found)) == 4
    assert all(sorted(variant.split(", ")) == ["a1", "b2", "c3", "d4", "kyara"] for variant in found)
    assert all(variant.startswith("kyara, ") for variant in found)
    assert captions.variants("a1, b2, c3, d4", "kyara", 4, "seed") == found
    assert captions.variants("a1, b2, c3, d4", "kyara", 4, "other") != found


def test_few_tags_have_few_orders() -> None:
    assert sorted(captions.variants("x, y", "kyara", 9, "s")) == ["kyara, x, y", "kyara, y, x"]


@pytest.mark.parametrize(
    "sentence",
    [
        "a girl with red hair, smiling, on a blue background",
        "She smiles, and waves.",
        "blue hair, with a gun",
        "赤い髪の女の子、笑っている。",
    ],
)
def test_sentences_are_not_shuffled(sentence: str) -> None:
    assert captions.variants(sentence, "kyara", 4, "s") == [f"kyara, {sentence}"]


@pytest.mark.parametrize("tag", ["the idolm@ster", "with gun", "the legend of zelda", "hair in a bun", "a"])
def test_titles_and_tags_are_no_sentences(tag: str) -> None:
    assert captions.is_tags(f"1girl, {tag}, smile")
    assert captions.is_tags(f"{tag}, 1girl")


def test_japanese_commas_part_tags() -> None:
    assert captions.variants("黒髪、眼鏡、笑顔", "kyara", 1, "s") == ["kyara, 黒髪, 眼鏡, 笑顔"]

"""Prompt sets: read, counted, and refused with one clear sentence."""

import json
from pathlib import Path

import pytest

from components.errors import DataError
from components.image import promptset


def write(folder: Path, content: object, name: str = "report") -> Path:
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def some(count: int) -> dict[str, object]:
    prompts = [{"prompt": f"p{i}", "attributes": {"glasses": "yes"}, "seed": i} for i in range(count)]
    return {"set": "report", "prompts": prompts}


def test_first_prompts_in_order(tmp_path: Path) -> None:
    items = promptset.load(write(tmp_path, some(5)), "report", 3)
    assert [(item.prompt, item.seed) for item in items] == [("p0", 0), ("p1", 1), ("p2", 2)]
    assert items[0].attributes == {"glasses": "yes"}
    assert len(promptset.load(tmp_path, "report")) == 5


def test_prompts_come_again_with_other_seeds(tmp_path: Path) -> None:
    items = promptset.repeated(promptset.load(write(tmp_path, some(3)), "report"), 8)
    assert [item.prompt for item in items] == ["p0", "p1", "p2", "p0", "p1", "p2", "p0", "p1"]
    assert len({item.seed for item in items}) == 8
    assert promptset.repeated(items, 2) == items[:2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"prompts": [{"prompt": "p"}]}, "malformed"),
        ([], "malformed"),
        ({"prompts": [{"prompt": "p", "seed": "x"}]}, "malformed"),
        ({"prompts": []}, "0 prompts"),
        (some(2), "2 prompts; 3 are asked for"),
    ],
)
def test_bad_files(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        promptset.load(write(tmp_path, content), "report", 3 if content == some(2) else None)


def test_missing_and_broken_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        promptset.load(tmp_path, "select")
    (tmp_path / "select.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="malformed"):
        promptset.load(tmp_path, "select")


def test_digest_follows_the_report_set(tmp_path: Path) -> None:
    before = promptset.digest(write(tmp_path, some(2)))
    write(tmp_path, some(9), "select")
    assert promptset.digest(tmp_path) == before
    assert promptset.digest(write(tmp_path, some(3))) != before


def test_how_models_are_asked() -> None:
    assert promptset.with_style("red hair", "micah") == "micah style, red hair"
    assert promptset.with_style("", "micah") == "micah style"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", "kyara"),
        ("red hair, smile", "kyara, red hair, smile"),
        ("kyara, red hair", "kyara, red hair"),
        ("red hair, Kyara", "kyara, red hair"),
        ("red hair、kyara、笑顔", "kyara, red hair、笑顔"),
        ("kyara, red hair, kyara", "kyara, red hair"),
        ("kyarachan, red hair", "kyara, kyarachan, red hair"),
        ("mykyara hat, kyara-like", "kyara, mykyara hat, kyara-like"),
        ("kyara in the rain, smile", "kyara in the rain, smile"),
        ("a picture of kyara with red hair", "kyara, a picture of kyara with red hair"),
        ("red hair, (kyara:1.2)", "(kyara:1.2), red hair"),
        ("(red hair, kyara:1.2)", "kyara, (red hair, kyara:1.2)"),
        ("a \\(b\\), [c|d] BREAK <lora:x:0.8>", "kyara, a \\(b\\), [c|d] BREAK <lora:x:0.8>"),
    ],
)
def test_the_trigger_is_the_first_word(prompt: str, expected: str) -> None:
    assert promptset.with_trigger(prompt, "kyara") == expected
    assert promptset.with_trigger(expected, "kyara") == expected

"""The report page: complete, self-contained, both languages."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from flows.report import GOALS, render, texts, write
from flows.ui import WORDS

REPORT = {
    "lora.style": 0.96,
    "lora.style.interval": [0.93, 0.99],
    "lora.copying": 0.5,
    "fidelity.adherence_ratio": 0.98,
    "speed.total": 13.2,
    "speed.served_ms": 80.0,
    "dataset.files": 3,
    "dataset.kept": 1,
    "seconds.train": 12.5,
    "seconds.pipeline": 20.0,
    "bento.tag": "kyara:1",
}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    dataset = tmp_path / "dataset"
    (dataset / "images").mkdir(parents=True)
    Image.new("RGB", (4, 4), "pink").save(dataset / "images" / "a.png")
    dropped = [{"file": "<b>.png", "reason": "corrupt", "detail": "cut short"}]
    (dataset / "dropped.json").write_text(json.dumps(dropped), encoding="utf-8")
    return {"dataset": dataset, "train": tmp_path / "not-there"}


def test_page_loads_nothing_from_outside(folders: dict[str, Path]) -> None:
    page = render(REPORT, folders)
    assert re.findall(r"(?:src|(?<!<a )href)=\"(?!data:)", page) == []
    assert "data:image/png;base64," in page


def test_page_shows_figures_goals_and_reasons_in_both_languages(folders: dict[str, Path]) -> None:
    page = render(REPORT, folders)
    for text in (
        "0.960",
        "0.930 – 0.990",
        "≥ 0.950 ✓",
        "≤ 0.020 ✗",
        "壊れている",
        "damaged",
        "&lt;b&gt;.png",
        "kyara:1",
    ):
        assert text in page


def test_the_tracked_pages_are_linked(folders: dict[str, Path]) -> None:
    pages = {what: f"http://127.0.0.1:5000/#/{what}?a=1&b=2" for what in WORDS}
    page = render({**REPORT, "pages": pages}, folders)
    for what in WORDS:
        assert f'<a href="http://127.0.0.1:5000/#/{what}?a=1&amp;b=2">' in page
    assert "<a " not in render(REPORT, folders)


def test_a_refusal_leads_the_page(folders: dict[str, Path]) -> None:
    refused = ("lora.style: 0.200 is below 0.950",)
    page = render({"dataset.files": 3, "dataset.kept": 1, "refused": refused}, folders)
    assert refused[0] in page
    assert page.index(refused[0]) < page.index('<div class="tiles">')
    assert 'role="alert"' not in render(REPORT, folders)


def test_write_keeps_the_figures_beside_the_page(folders: dict[str, Path], tmp_path: Path) -> None:
    page = write(REPORT, folders, tmp_path / "out")
    assert json.loads((page.parent / "report.json").read_text(encoding="utf-8")) == REPORT


def test_both_languages_have_the_same_keys() -> None:
    for key, table in texts().items():
        assert table["ja"], key
        assert table["en"], key


def test_goals_know_their_direction() -> None:
    by_key = {goal.key: goal for goal in GOALS}
    assert by_key["lora.copying"].reached(0.0) is True
    assert by_key["speed.total"].reached(11.9) is False
    assert by_key["lora.adherence"].reached(0.5) is None

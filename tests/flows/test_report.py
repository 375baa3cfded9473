"""The report page: complete, self-contained, both languages."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from components.modalities import parse_recipe
from components.recipe import Goal, Recipe
from components.runner import stage_folder
from flows.report import render, texts, write
from flows.ui import WORDS

REPORT = {
    "lora.style": 0.96,
    "lora.style.interval": [0.93, 0.99],
    "lora.copying": 0.5,
    "lora.worst": 0.07,
    "lora.worst.name": "glasses=yes",
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
def recipe(home: Path) -> Recipe:
    """A recipe of which only the dataset stage has run."""
    goals = {"lora.style": {"min": 0.95}, "lora.copying": {"max": 0.02}, "lora.worst": {}}
    made = parse_recipe({"name": "x", "trigger": "x", "dataset": {"source": "x"}, "promote": {"goals": goals}}, "here")
    dataset = stage_folder(made, "dataset")
    (dataset / "images").mkdir(parents=True)
    Image.new("RGB", (4, 4), "pink").save(dataset / "images" / "a.png")
    dropped = [{"file": "<b>.png", "reason": "corrupt", "detail": "cut short"}]
    (dataset / "dropped.json").write_text(json.dumps(dropped), encoding="utf-8")
    return made


def test_page_loads_nothing_from_outside(recipe: Recipe) -> None:
    page = render(REPORT, recipe)
    assert re.findall(r"(?:src|(?<!<a )href)=\"(?!data:)", page) == []
    assert "data:image/png;base64," in page


def test_page_shows_figures_goals_and_reasons_in_both_languages(recipe: Recipe) -> None:
    page = render(REPORT, recipe)
    for text in (
        "0.960",
        "0.930 – 0.990",
        "≥ 0.950",
        "≤ 0.020 ✗",
        "壊れている",
        "damaged",
        "&lt;b&gt;.png",
        "kyara:1",
        "glasses=yes",
    ):
        assert text in page


def test_the_tracked_pages_are_linked(recipe: Recipe) -> None:
    pages = {what: f"http://127.0.0.1:5000/#/{what}?a=1&b=2" for what in WORDS}
    page = render({**REPORT, "pages": pages}, recipe)
    for what in WORDS:
        assert f'<a href="http://127.0.0.1:5000/#/{what}?a=1&amp;b=2">' in page
    assert "<a " not in render(REPORT, recipe)


def test_a_refusal_leads_the_page(recipe: Recipe) -> None:
    refused = ("lora.style: 0.200 is below 0.950",)
    page = render({"dataset.files": 3, "dataset.kept": 1, "refused": refused}, recipe)
    assert refused[0] in page
    assert page.index(refused[0]) < page.index('<div class="tiles">')
    assert 'role="alert"' not in render(REPORT, recipe)


def test_write_keeps_the_figures_beside_the_page(recipe: Recipe, tmp_path: Path) -> None:
    page = write(REPORT, recipe, tmp_path / "out")
    assert json.loads((page.parent / "report.json").read_text(encoding="utf-8")) == REPORT


def test_both_languages_have_the_same_keys() -> None:
    for key, table in texts().items():
        assert table["ja"], key
        assert table["en"], key


def test_a_goal_inside_the_interval_is_neither_ticked_nor_crossed(recipe: Recipe) -> None:
    """On few prompts an interval is wider than its goal: 0.96 (0.93 to 0.99) says nothing certain about 0.95."""
    assert "≥ 0.950 <small>" in render(REPORT, recipe)
    assert "≥ 0.950 ✓" in render({**REPORT, "lora.style.interval": [0.955, 0.99]}, recipe)


def test_goals_know_their_direction() -> None:
    assert Goal(max=0.02).reached(0.0) is True
    assert Goal(min=12).reached(11.9) is False
    assert Goal().reached(0.5) is None

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pytest

from components.image.promptset import PromptItem, load
from components.portraits.vocabulary import ATTRIBUTES, STYLES
from components.portraits.world.captions import prompt as canonical
from components.portraits.world.prompts import SIZES, gallery, prompt_sets, write
from components.portraits.world.renders import clashes, sample_portraits, split_of

Sets = dict[str, Sequence[PromptItem]]

DATA = Path(__file__).parents[4] / "data" / "prompts"


@pytest.fixture(scope="module")
def sets() -> Sets:
    return {name: load(DATA, name) for name in SIZES}


def test_the_shipped_files_are_what_the_code_writes(tmp_path: Path):
    write(tmp_path)
    for name in (*SIZES, "gallery"):
        assert (tmp_path / f"{name}.json").read_bytes() == (DATA / f"{name}.json").read_bytes()
    assert len(list(tmp_path.iterdir())) == len(SIZES) + 1


def test_the_gallery_asks_for_what_it_says() -> None:
    shown = gallery()
    assert len({item.prompt for item in shown}) == len(shown) == 24
    assert shown[0].attributes == {"hair_color": "pink", "expression": "smile", "background": "blue"}
    assert not any(clashes(item.attributes) for item in shown)


def test_sizes_and_names(sets: Sets):
    assert {name: len(prompts) for name, prompts in sets.items()} == SIZES
    assert SIZES == {"train": 512, "select": 256, "calibrate": 256, "report": 512, "short": 256}
    assert all(json.loads((DATA / f"{name}.json").read_text("utf-8"))["set"] == name for name in sets)


def test_the_sets_are_disjoint_in_prompts_attributes_and_seeds(sets: Sets):
    for one, other in combinations(sets.values(), 2):
        assert {p.seed for p in one}.isdisjoint(p.seed for p in other)
        assert {p.prompt for p in one}.isdisjoint(p.prompt for p in other)
        assert {canonical(p.attributes) for p in one}.isdisjoint(canonical(p.attributes) for p in other)
    everything = [p for prompts in sets.values() for p in prompts]
    assert len({p.seed for p in everything}) == len({p.prompt for p in everything}) == len(everything)


def test_every_prompt_asks_for_four_to_eight_known_values_of_an_unseen_combination(
    sets: Sets,
):
    for name in ("train", "select", "calibrate", "report"):
        for prompt in sets[name]:
            assert 4 <= len(prompt.attributes) <= 8
            assert split_of(prompt.attributes) == name
    for prompt in (p for prompts in sets.values() for p in prompts):
        assert all(value in ATTRIBUTES[name] for name, value in prompt.attributes.items())
        assert not clashes(prompt.attributes)
        assert "style" not in prompt.prompt


def test_short_prompts_ask_for_one_or_two_remarkable_things(sets: Sets):
    assert {len(prompt.attributes) for prompt in sets["short"]} == {1, 2}
    assert all("no" not in prompt.attributes.values() for prompt in sets["short"])


def _combination(attributes: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(attributes[name] for name in ("hair_color", "hair_style", "background"))


def test_a_combination_is_in_one_set_only(sets: Sets):
    asked = {name: {_combination(p.attributes) for p in sets[name]} for name in sets if name != "short"}
    assert all(one.isdisjoint(other) for one, other in combinations(asked.values(), 2))
    assert min(map(len, asked.values())) >= 8


def test_no_training_portrait_has_a_combination_of_the_other_prompts(sets: Sets):
    trained = {_combination(shown.attributes) for shown in sample_portraits(2_000, 0, STYLES)}
    for name in ("select", "calibrate", "report"):
        assert trained.isdisjoint(_combination(p.attributes) for p in sets[name])


def test_every_value_is_asked_for_in_the_report(sets: Sets):
    asked = {(name, value) for p in sets["report"] for name, value in p.attributes.items()}
    assert asked == {(name, value) for name, ids in ATTRIBUTES.items() for value in ids}


def test_another_seed_gives_other_prompts():
    assert prompt_sets(1)["report"][0] != prompt_sets(0)["report"][0]

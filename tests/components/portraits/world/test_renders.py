import json
import math
import random
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from components.portraits.vocabulary import ATTRIBUTES, BASE_STYLES, STYLES, VARIANTS, shows, values
from components.portraits.world import drawing
from components.portraits.world.renders import (
    COLORS,
    INK,
    Portrait,
    _lab,
    build,
    build_foreign,
    clashes,
    is_held_out,
    load,
    load_faces,
    load_pictures,
    render,
    sample_portrait,
    sample_portraits,
)

ROOT = Path(__file__).parents[4]


def portrait(style: str, **changes: str) -> Portrait:
    plain = {
        "hair_color": "purple",
        "hair_style": "short",
        "skin": "fair",
        "expression": "smile",
        "glasses": "no",
        "earrings": "no",
        "clothes_color": "red",
        "background": "gray",
        "position": "center",
        "scale": "normal",
        "tilt": "none",
        "facing": "right",
    }
    attributes = {name: value for name, value in {**plain, **changes}.items() if shows(style, name)}
    return Portrait(style, attributes, 7)


def pixels(shown: Portrait, size: int = 64) -> np.ndarray:
    return np.asarray(render(shown, size)).astype(int)


@pytest.mark.parametrize("style", STYLES)
def test_a_render_is_rgb_of_the_asked_size_and_always_the_same(style: str):
    shown = sample_portrait(random.Random(1), style)
    first = render(shown, 48)
    assert first.mode == "RGB"
    assert first.size == (48, 48)
    assert first.tobytes() == render(shown, 48).tobytes()


@pytest.mark.parametrize("style", STYLES)
def test_every_attribute_that_a_style_shows_is_seen(style: str):
    for attribute in ATTRIBUTES:
        seen = [pixels(portrait(style, **{attribute: value})) for value in values(style, attribute)]
        for one, other in pairwise(seen):
            assert (np.abs(one - other).sum(-1) > 60).sum() >= 8, (style, attribute)


@pytest.mark.parametrize("style", STYLES)
def test_hair_skin_and_background_have_their_colors(style: str):
    shown = portrait(style)
    found = {tuple(int(c) for c in color) for color in pixels(shown, 128).reshape(-1, 3)}
    for attribute in ("hair_color", "skin", "background", "clothes_color"):
        if shows(style, attribute):
            color = COLORS[attribute][shown.attributes[attribute]]
            assert tuple(bytes.fromhex(color[1:])) in found, (style, attribute)


def test_position_moves_the_figure():
    def column(position: str) -> float:
        drawn = pixels(portrait("micah", position=position, background="white", clothes_color="red"))
        return float(np.nonzero((drawn < 250).any(-1))[1].mean())

    assert column("left") < column("center") - 5 < column("right") - 10


def test_no_body_ends_above_the_lower_edge():
    for style in ("toon-head", "micah", "open-peeps", "lorelei"):
        for tilt in ATTRIBUTES["tilt"]:
            drawn = pixels(portrait(style, scale="far", tilt=tilt, background="white"), 128)
            assert (drawn[-1, 54:74] < 250).any(-1).mean() >= 0.5, (style, tilt)


def test_only_a_base_of_values_that_the_style_shows_is_sampled():
    rng = random.Random(2)
    for style in STYLES:
        for _ in range(30):
            shown = sample_portrait(rng, style)
            assert all(shows(style, name, value) for name, value in shown.attributes.items())
            assert set(shown.attributes) == {name for name in ATTRIBUTES if shows(style, name)}
            assert not clashes(shown.attributes)


def test_held_out_combinations_never_meet_the_others():
    def combinations(held_out: bool) -> set[tuple[str, ...]]:
        drawn = sample_portraits(600, 3, STYLES, held_out)
        assert all(is_held_out(shown) is held_out for shown in drawn)
        return {tuple(shown.attributes[name] for name in ("hair_color", "hair_style", "background")) for shown in drawn}

    assert combinations(True).isdisjoint(combinations(False))


def test_styles_take_turns_and_hair_colors_are_balanced():
    drawn = sample_portraits(2_000, 4)
    assert set(Counter(shown.style for shown in drawn).values()) == {2_000 // len(BASE_STYLES)}
    counts = Counter(shown.attributes["hair_color"] for shown in drawn)
    assert min(counts.values()) > 0.75 * 2_000 / len(ATTRIBUTES["hair_color"])


def _luminance(color: str) -> float:
    shares = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_lines_are_readable_on_every_skin_and_hair():
    """The contrast of WCAG 2: 4.5 is asked of small letters; strands within black hair may be faint."""

    def contrast(color: str) -> float:
        return (_luminance(color) + 0.05) / (_luminance(INK) + 0.05)

    assert min(contrast(color) for color in COLORS["skin"].values()) >= 5.0
    assert min(contrast(color) for color in COLORS["hair_color"].values()) >= 2.0


def test_no_two_values_of_a_color_are_near_each_other():
    for table in COLORS.values():
        for one, other in combinations(table.values(), 2):
            assert math.dist(_lab(one), _lab(other)) > 20.0


def test_areas_that_touch_are_told_apart():
    assert clashes({"hair_color": "white", "background": "white"})
    assert clashes({"clothes_color": "white", "background": "white"})
    assert not clashes({"clothes_color": "black", "background": "black"})
    assert not clashes({"hair_color": "pink", "background": "pink"})
    assert not clashes({"skin": "fair", "background": "white"})


def test_faces_fill_the_frame():
    """Height of what is not background, hair and all, of a bodiless style."""

    def height(scale: str) -> float:
        drawn = pixels(portrait("adventurer", scale=scale, background="white"), 128)
        return float(np.ptp(np.nonzero((drawn < 250).any((1, 2)))[0]) + 1) / 128

    assert height("far") == pytest.approx(0.6, abs=0.08)
    assert height("normal") == pytest.approx(0.75, abs=0.08)
    assert height("close") == pytest.approx(0.95, abs=0.08)


def test_earrings_are_large_enough_to_survive():
    for style in STYLES:
        if shows(style, "earrings"):
            without, worn = (pixels(portrait(style, earrings=value, scale="far"), 128) for value in ("no", "yes"))
            assert (np.abs(without - worn).sum(-1) > 60).sum() >= 30, style


def test_the_usual_is_drawn_twice_as_often():
    drawn = Counter(shown.attributes["scale"] for shown in sample_portraits(2_000, 6))
    assert drawn["normal"] == pytest.approx(1_000, abs=90)
    assert drawn["far"] == pytest.approx(500, abs=90)


def test_an_autoencoder_may_see_every_style(tmp_path: Path):
    images = load_pictures(build_foreign(tmp_path / "foreign.npz", 6, 1, size=32))
    assert images.shape == (6, 32, 32, 3)
    assert len({image.tobytes() for image in images}) == 6
    assert {"lorelei", "notionists"} < set(drawing.every_style())


def test_every_variant_of_the_tables_exists_in_its_style():
    for style, attributes in VARIANTS.items():
        parts = drawing.definition(style)["components"]
        for table in attributes.values():
            for options in table.values():
                for option in options:
                    assert all(variant in parts[part]["variants"] for part, variant in option.items()), (style, option)


def test_adapting_a_style_leaves_the_shipped_definition_alone():
    before = json.dumps(drawing.definition("open-peeps"))
    drawing.style("open-peeps")
    assert json.dumps(drawing.definition("open-peeps")) == before


def test_licences_are_free_and_the_attribution_page_names_them_all():
    page = (ROOT / "data" / "ATTRIBUTION.md").read_text("utf-8")
    assert page == drawing.attribution()
    for style in STYLES:
        meta = drawing.definition(style)["meta"]
        assert meta["license"]["name"] in {"CC BY 4.0", "CC0 1.0"}
        assert meta["creator"]["name"] in page
        assert meta["source"]["url"] in page


@pytest.mark.parametrize("workers", [1, 2])
def test_a_built_set_is_loaded_with_its_labels(tmp_path: Path, workers: int):
    path = build(tmp_path / "set.npz", 8, 5, size=32, workers=workers)
    images, portraits = load(path)
    assert images.shape == (8, 32, 32, 3)
    assert images.dtype == np.uint8
    assert load_faces(path).shape == (8, 32, 32)
    assert portraits == sample_portraits(8, 5)
    assert (images[3] == np.asarray(render(portraits[3], 32))).all()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["set.json", "set.npz"]

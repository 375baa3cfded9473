"""The artists' styles as DiceBear ships them, and our changes so that colours and small parts are seen at 128 px.

The changes are told in data/ATTRIBUTION.md, as CC BY asks.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Any

from dicebear import Style

Definition = dict[str, Any]
Elements = list[dict[str, Any]]

GOLD = "#ffb300"
_INK = {"type": "color", "name": "ink"}
_HAIR = {"type": "color", "name": "headContrast"}

_ENLARGED: Mapping[str, Mapping[str, tuple[float, tuple[float, float]]]] = {
    "adventurer": {"mouth": (1.2, (103.0, 69.0))},
    "toon-head": {"mouth": (1.45, (58.0, 26.0))},
    "micah": {"earrings": (1.4, (26.0, 8.0)), "clothes": (1.35, (125.0, 8.0))},
    "lorelei": {"earrings": (1.8, (99.0, 85.0)), "mouth": (1.15, (131.0, 66.0))},
}
"""Parts that are drawn larger: the factor, and the point (in the part's own units) that stays where it is."""

_THICKENED: Mapping[str, Mapping[str, tuple[float, tuple[str, ...]]]] = {
    "adventurer": {"mouth": (8.0, ("variant02", "variant04", "variant09", "variant29"))},
    "toon-head": {"mouth": (5.0, ("smile", "sad"))},
    "lorelei": {"mouth": (7.0, ()), "glasses": (7.0, ()), "eyebrows": (3.0, ())},
}
"""Parts whose lines are drawn wider: width of the added stroke (units of the canvas), which variants (() is all)."""


CHANGES: Mapping[str, str] = {
    "adventurer": "recoloured; thin mouths widened, mouth enlarged",
    "toon-head": "recoloured; thin mouths widened, mouth enlarged",
    "micah": "recoloured; earrings and clothes enlarged",
    "open-peeps": "recoloured; hair drawn in solid ink given a colour and an outline",
    "lorelei": "coloured; lines of mouth, glasses and eyebrows widened, mouth and earrings enlarged, earrings gold",
}
"""What we changed in each style, in words."""


@cache
def definition(name: str) -> Definition:
    """The style's definition as its package ships it, with licence, artist and source under `meta`."""
    loaded: Definition = json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8"))
    return loaded


@cache
def style(name: str) -> Style:
    """The style as we draw it."""
    adapted = deepcopy(definition(name))
    if name == "open-peeps":
        _color_inked_hair(adapted)
    for part, (width, variants) in _THICKENED.get(name, {}).items():
        _thicken(adapted, part, width, variants)
    for part, (factor, pivot) in _ENLARGED.get(name, {}).items():
        _enlarge(adapted, part, factor, pivot)
    return Style(adapted)


def attribution() -> str:
    """The page that names every style's artist, licence and source (Markdown), from the package's own metadata."""
    lines = [
        "# Attribution",
        "",
        "The pictures of the embedded world are composed by [DiceBear](https://www.dicebear.com) (MIT) from work of",
        "these artists. Thank you. All styles are also framed by our own camera: moved, scaled, tilted, mirrored.",
        "The embedded base model and the judge are trained on them; `data/demo` holds pictures in the style Lorelei.",
        "",
        "| style | artist | licence | source | changes |",
        "|---|---|---|---|---|",
    ]
    for name, changes in CHANGES.items():
        meta = definition(name)["meta"]
        cells = [name, *(f"[{meta[part]['name']}]({meta[part]['url']})" for part in ("creator", "license", "source"))]
        lines.append(f"| {' | '.join([*cells, changes])} |")
    return "\n".join(lines) + "\n"


def _shapes(elements: Elements) -> Iterator[dict[str, Any]]:
    """The attributes of every filled shape."""
    for element in elements:
        if "fill" in element.get("attributes", {}):
            yield element["attributes"]
        yield from _shapes(element.get("children", []))


def _variants(adapted: Definition, part: str) -> Iterator[Elements]:
    for variant in adapted["components"][part].get("variants", {}).values():
        yield variant["elements"]


def _change(elements: Elements, old: object, new: Mapping[str, Any]) -> None:
    for shape in _shapes(elements):
        if shape["fill"] == old:
            shape.update(new)


def _color_inked_hair(adapted: Definition) -> None:
    """Hair that open-peeps draws in solid ink gets the hair colour and an outline of ink."""
    for elements in _variants(adapted, "head"):
        if not any(shape["fill"] == _HAIR for shape in _shapes(elements)):
            _change(elements, _INK, {"fill": _HAIR, "stroke": _INK, "stroke-width": "17", "stroke-linejoin": "round"})


def _thicken(adapted: Definition, part: str, width: float, variants: tuple[str, ...]) -> None:
    for name, variant in adapted["components"][part]["variants"].items():
        for shape in _shapes(variant["elements"]) if not variants or name in variants else ():
            if shape.get("fill-opacity") != ".2":  # a shadow
                shape.update({"stroke": shape["fill"], "stroke-width": str(width)})


def _enlarge(adapted: Definition, part: str, factor: float, pivot: tuple[float, float]) -> None:
    move = f"translate({pivot[0] * (1 - factor):.1f} {pivot[1] * (1 - factor):.1f}) scale({factor})"
    places = [adapted["canvas"]["elements"]]
    places += [elements for component in adapted["components"] for elements in _variants(adapted, component)]
    _place_with(places, part, move)


def _place_with(places: list[Elements], part: str, move: str) -> None:
    """Append `move` to the transform wherever `part` is placed."""
    for elements in places:
        for element in elements:
            if element.get("type") == "component" and element.get("name") == part:
                attributes = element.setdefault("attributes", {})
                attributes["transform"] = f"{attributes.get('transform', '')} {move}".strip()
            _place_with([element.get("children", [])], part, move)

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
_RED = "#e0566a"
_INK = {"type": "color", "name": "ink"}
_HAIR = {"type": "color", "name": "headContrast"}

_ENLARGED: Mapping[str, Mapping[str, tuple[float, tuple[float, float]]]] = {
    "adventurer": {"mouth": (1.2, (103.0, 69.0))},
    "toon-head": {"mouth": (1.35, (58.0, 26.0))},
    "micah": {"earrings": (1.2, (26.0, 8.0)), "clothes": (1.35, (125.0, 8.0)), "mouth": (1.2, (42.0, 32.0))},
    "open-peeps": {"expression": (1.18, (125.0, 150.0))},
    "lorelei": {"earrings": (2.0, (99.0, 85.0)), "mouth": (1.15, (131.0, 66.0))},
}
"""Parts that are drawn larger: the factor, and the point (in the part's own units) that stays where it is."""

_THICKENED: Mapping[str, Mapping[str, tuple[float, tuple[str, ...]]]] = {
    "lorelei": {"mouth": (7.0, ("happy01", "happy02", "sad04")), "glasses": (7.0, ()), "eyebrows": (3.0, ())},
}
"""Parts whose lines are drawn wider: width of the added stroke (units of the canvas), which variants (() is all)."""


def _line(path: str, color: object, width: float) -> dict[str, Any]:
    """An open line with round ends."""
    drawn = {"d": path, "fill": "none", "stroke": color, "stroke-width": str(width), "stroke-linecap": "round"}
    return {"name": "path", "type": "element", "attributes": drawn}


def _area(path: str, color: object) -> dict[str, Any]:
    return {"name": "path", "type": "element", "attributes": {"d": path, "fill": color}}


def _ring(x: float, y: float, radius: float, width: float, color: object) -> dict[str, Any]:
    drawn = {"cx": str(x), "cy": str(y), "r": str(radius), "fill": "none", "stroke": color, "stroke-width": str(width)}
    return {"name": "circle", "type": "element", "attributes": drawn}


_LORELEI_MOUTH = {"type": "color", "name": "mouth"}
_WIDE_OPEN = "M58 22Q150 46 232 12Q230 112 146 116Q74 112 58 22Z"

_REDRAWN: Mapping[str, Mapping[str, Mapping[str, Elements]]] = {
    "adventurer": {
        "mouth": {
            "variant02": [_line("M42 34Q103 104 164 28", _INK, 13)],
            "variant04": [_line("M52 92Q103 34 156 86", _INK, 13)],
        },
        "earrings": {
            "variant02": [
                _ring(22, 112, 30, 22, _INK),
                _ring(22, 112, 30, 13, {"type": "color", "name": "earrings"}),
            ],
        },
    },
    "toon-head": {
        "mouth": {
            "smile": [_line("M10 8Q58 66 107 8", "#3f2626", 9)],
            "sad": [_line("M14 46Q58 -4 103 46", "#3f2626", 9)],
        },
    },
    "micah": {
        "earrings": {
            "hoop": [
                _ring(26, 28, 22, 11, "#000000"),
                _ring(26, 28, 22, 6, {"type": "color", "name": "earring"}),
            ],
        },
    },
    "lorelei": {
        "mouth": {
            "happy05": [
                _area(_WIDE_OPEN, _LORELEI_MOUTH),
                _area("M96 92Q144 62 200 84Q176 112 146 112Q114 110 96 92Z", _RED),
            ],
            "happy09": [
                _area(_WIDE_OPEN, _LORELEI_MOUTH),
                _area("M72 34Q150 56 222 26Q220 46 212 56Q146 78 82 58Q76 48 72 34Z", "#ffffff"),
            ],
            "sad05": [_line("M76 92Q146 18 224 74", _LORELEI_MOUTH, 15)],
        },
        "earrings": {
            "variant03": [
                _line("M92 98Q88 118 91 132", "#000000", 27),
                _line("M92 98Q88 118 91 132", {"type": "color", "name": "earrings"}, 18),
            ],
        },
    },
}  # fmt: skip
"""Variants that we draw ourselves, so that a smile is told from a frown at 128 px, and an earring is seen at all."""

_HANGING: Mapping[str, tuple[str, str]] = {"adventurer": ("earrings", "translate(566 360)")}
"""A part that is placed on the canvas, before all others, instead of wherever the hair's drawings place it."""

FACE: Mapping[str, tuple[str, ...]] = {
    "adventurer": ("eyes", "eyebrows", "mouth", "glasses", "earrings"),
    "toon-head": ("eyes", "eyebrows", "mouth"),
    "micah": ("eyes", "eyebrows", "mouth", "nose", "glasses", "earrings"),
    "open-peeps": ("expression", "accessories"),
    "lorelei": ("eyes", "eyebrows", "mouth", "nose", "glasses", "earrings"),
}
"""The small parts that make a face: where they are, every pixel counts."""


CHANGES: Mapping[str, str] = {
    "adventurer": "recoloured; smile, frown and earring drawn anew, mouth enlarged",
    "toon-head": "recoloured; smile and frown drawn anew, mouth enlarged",
    "micah": "recoloured; earring drawn anew, mouth and clothes enlarged",
    "open-peeps": "recoloured; hair drawn in solid ink given a colour and an outline",
    "lorelei": "coloured; lines of mouth, glasses and eyebrows widened, laughs and a frown drawn anew, "
    "mouth and earrings enlarged, earrings gold",
}
"""What we changed in each style, in words."""


@cache
def definition(name: str) -> Definition:
    """The style's definition as its package ships it, with licence, artist and source under `meta`."""
    loaded: Definition = json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8"))
    return loaded


def every_style() -> list[str]:
    """All styles that the package carries; every licence among them allows our use (CC0, CC BY, MIT, free)."""
    return sorted(
        file.name.removesuffix(".json") for file in files("dicebear_styles").iterdir() if ".json" in file.name
    )


@cache
def untouched(name: str) -> Style:
    """The style as its artist made it."""
    return Style(definition(name))


@cache
def _adapted(name: str) -> Definition:
    """The style's definition with our changes."""
    adapted = deepcopy(definition(name))
    if name == "open-peeps":
        _color_inked_hair(adapted)
    for part, redrawn in _REDRAWN.get(name, {}).items():
        for variant, elements in redrawn.items():
            adapted["components"][part]["variants"][variant]["elements"] = deepcopy(elements)
    for part, (width, variants) in _THICKENED.get(name, {}).items():
        _thicken(adapted, part, width, variants)
    for part, (factor, pivot) in _ENLARGED.get(name, {}).items():
        _enlarge(adapted, part, factor, pivot)
    if name in _HANGING:
        _hang(adapted, *_HANGING[name])
    return adapted


@cache
def style(name: str, bare: bool = False) -> Style:
    """The style as we draw it; `bare`: without the parts of `FACE`."""
    drawn = deepcopy(_adapted(name))
    for part in FACE[name] if bare else ():
        for elements in _variants(drawn, part):
            elements.clear()
    return Style(drawn)


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
    lines += ["", "The autoencoder has also seen pictures of every other style of the package, unchanged:", ""]
    for name in every_style():
        if name not in CHANGES:
            meta = definition(name)["meta"]
            creator, license_ = (meta[part].get("name", "") for part in ("creator", "license"))
            lines.append(f"- {name}: {creator}, {license_}")
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


def _hang(adapted: Definition, part: str, place: str) -> None:
    for component in adapted["components"]:
        for elements in _variants(adapted, component):
            _take_out(elements, part)
    adapted["canvas"]["elements"].append({"name": part, "type": "component", "attributes": {"transform": place}})


def _take_out(elements: Elements, part: str) -> None:
    elements[:] = [element for element in elements if (element.get("type"), element.get("name")) != ("component", part)]
    for element in elements:
        _take_out(element.get("children", []), part)


def _place_with(places: list[Elements], part: str, move: str) -> None:
    """Append `move` to the transform wherever `part` is placed."""
    for elements in places:
        for element in elements:
            if element.get("type") == "component" and element.get("name") == part:
                attributes = element.setdefault("attributes", {})
                attributes["transform"] = f"{attributes.get('transform', '')} {move}".strip()
            _place_with([element.get("children", [])], part, move)

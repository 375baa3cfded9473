"""Words for a portrait: tags in the field's habit, or a sentence as a newcomer would type it.

One picture has many captions: shuffled, with synonyms, with some attributes left unsaid, so that a model trained on
them follows short and free prompts as well as full ones.
"""

import random
from collections.abc import Callable, Mapping

from components.image.promptset import with_style
from components.portraits.vocabulary import ATTRIBUTES, words
from components.portraits.world.renders import Portrait

_KEEP: Mapping[str, float] = {
    "hair_color": 0.9, "hair_style": 0.85, "skin": 0.6, "expression": 0.95, "glasses": 0.95, "earrings": 0.95,
    "clothes_color": 0.75, "background": 0.85, "position": 0.75, "scale": 0.75, "tilt": 0.75, "facing": 0.65,
}  # fmt: skip
"""How often a caption tells an attribute."""

_UNREMARKABLE = frozenset(
    {("glasses", "no"), ("earrings", "no"), ("position", "center"), ("scale", "normal"), ("tilt", "none")}
)
_KEEP_UNREMARKABLE = 0.25
"""Nobody tags what goes without saying, yet the words must be known."""

_SUBJECTS = ("a girl", "a boy", "a woman", "a man", "a person", "a character", "an anime girl", "an anime boy")
_SUBJECT_TAGS = ("1girl", "1boy", "solo", "girl", "boy", "anime", "character", "1girl, solo")
_OPENINGS: Mapping[str, tuple[str, ...]] = {
    "close": ("a close-up of", "a close-up portrait of"),
    "normal": ("a portrait of",),
    "": ("a picture of", "a drawing of", "an illustration of"),
}
_HAIR: Mapping[str, tuple[str, ...]] = {
    "short": ("short {} hair",),
    "bob": ("a {} bob", "a {} bob cut", "medium {} hair"),
    "long": ("long {} hair", "very long {} hair"),
    "tied": ("{} hair in a bun", "{} hair tied up", "tied {} hair"),
}
_HAIR_ADJECTIVES: Mapping[str, tuple[str, ...]] = {
    "black": ("black", "dark"),
    "blonde": ("blonde", "blond"),
    "orange": ("orange", "ginger"),
    "purple": ("purple", "violet"),
    "white": ("white", "silver"),
}
_SENTENCE_SHARE = 0.35
_COMPOUND_SHARE = 0.35
_SUBJECT_TAG_SHARE = 0.3
_STYLE_FIRST_SHARE = 0.6


def prompt(attributes: Mapping[str, str], style_word: str | None = None) -> str:
    """The canonical prompt: the first word of each value as a tag, in the order of the vocabulary."""
    tags = ", ".join(words(name, attributes[name])[0] for name in ATTRIBUTES if name in attributes)
    return with_style(tags, style_word) if style_word else tags


def caption(portrait: Portrait, rng: random.Random, *, style_word: str | None) -> str:
    """One of the many captions of a portrait, in lower case; `style_word` names its style, None leaves it unsaid."""
    return told_caption(portrait, rng, style_word=style_word)[0]


def told_caption(
    portrait: Portrait, rng: random.Random, *, style_word: str | None, short: bool = False
) -> tuple[str, dict[str, str]]:
    """As `caption`, with the attributes that it tells; `short`: one or two of them, as people type."""
    told = _tell(portrait.visible, rng)
    if short:
        told = {name: told[name] for name in rng.sample(list(told), min(rng.randint(1, 2), len(told)))}
    text = phrase(told, rng)
    if style_word is None:
        return text, told
    first = rng.random() < _STYLE_FIRST_SHARE
    return with_style(text, style_word) if first else f"{text}, {with_style('', style_word)}", told


def phrase(attributes: Mapping[str, str], rng: random.Random) -> str:
    """All of `attributes` in words, as shuffled tags or as a sentence."""
    write = _sentence if len(attributes) > 1 and rng.random() < _SENTENCE_SHARE else _tags
    return write(attributes, rng)


def _tell(attributes: Mapping[str, str], rng: random.Random) -> dict[str, str]:
    """The attributes that this caption speaks of; at least one."""
    told = {
        name: value
        for name, value in attributes.items()
        if rng.random() < (_KEEP_UNREMARKABLE if (name, value) in _UNREMARKABLE else _KEEP[name])
    }
    return told or {"hair_color": attributes["hair_color"]}


def _hair(attributes: Mapping[str, str], rng: random.Random) -> str:
    color = attributes["hair_color"]
    return rng.choice(_HAIR[attributes["hair_style"]]).format(rng.choice(_HAIR_ADJECTIVES.get(color, (color,))))


def _has_hair(attributes: Mapping[str, str]) -> bool:
    return "hair_color" in attributes and "hair_style" in attributes


def _tags(attributes: Mapping[str, str], rng: random.Random) -> str:
    rest = dict(attributes)
    tags = []
    if _has_hair(rest) and rng.random() < _COMPOUND_SHARE:
        tags.append(_hair(rest, rng).removeprefix("a "))
        del rest["hair_color"], rest["hair_style"]
    tags += [rng.choice(words(name, value)) for name, value in rest.items()]
    rng.shuffle(tags)
    if rng.random() < _SUBJECT_TAG_SHARE:
        tags.insert(0, rng.choice(_SUBJECT_TAGS))
    return ", ".join(tags)


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _sentence(attributes: Mapping[str, str], rng: random.Random) -> str:
    """`a portrait of a girl with long pink hair and glasses, wearing a red shirt, smiling, on a blue background`."""
    rest = dict(attributes)
    start = _opening(rest, rng)
    features = _features(rest, rng)
    sentence = f"{start} with {_listed(features)}" if features else start
    clauses = [write(rest.pop(name), rng) for name, write in _CLAUSES.items() if name in rest]
    clauses += [rng.choice(words(name, value)) for name, value in rest.items()]
    rng.shuffle(clauses)
    return ", ".join([sentence, *clauses])


def _opening(rest: dict[str, str], rng: random.Random) -> str:
    """`a girl` or `a close-up of a girl`; takes the scale out of `rest` where the opening tells it."""
    subject = rng.choice(_SUBJECTS)
    if rest.get("scale") in _OPENINGS and rng.random() < 0.6:
        return f"{rng.choice(_OPENINGS[rest.pop('scale')])} {subject}"
    return f"{rng.choice(_OPENINGS[''])} {subject}" if rng.random() < 0.3 else subject


def _features(rest: dict[str, str], rng: random.Random) -> list[str]:
    """What follows `with`: hair, skin, glasses, earrings, in any order; takes them out of `rest`."""
    features = []
    if _has_hair(rest):
        features.append(_hair(rest, rng))
        del rest["hair_color"], rest["hair_style"]
    elif "hair_color" in rest or "hair_style" in rest:
        name = "hair_color" if "hair_color" in rest else "hair_style"
        features.append(words(name, rest.pop(name))[0])
    features += [words(name, rest.pop(name))[0] for name in ("skin", "glasses", "earrings") if name in rest]
    rng.shuffle(features)
    return features


_CLAUSES: Mapping[str, Callable[[str, random.Random], str]] = {
    "clothes_color": lambda value, rng: f"wearing a {rng.choice(words('clothes_color', value)[::2])}",
    "background": lambda value, rng: f"{rng.choice(('on a ', 'with a ', ''))}{rng.choice(words('background', value))}",
    "expression": lambda value, rng: rng.choice(words("expression", value)),
}

"""The phrases that a request is made of, as patterns over English words; Japanese words come in translated.

A pattern is blanks between slots; a slot is `a|b`, `[a|b]` where it may be left out, and `_` joins the words of one
alternative: `[very_long|long] pink hair`. The vocabulary's own words are patterns too, so that none can be forgotten.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from components.portraits.vocabulary import ATTRIBUTES, words

NOT = "<not>"
"""The Japanese negation, which stands behind its noun; no English word is misread as it."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Phrase:
    """What a run of words says: attributes, a subject, a quality; `prior` is what it costs when it is spelled right."""

    pairs: Pairs = ()
    subject: str = ""
    quality: str = ""
    extra: str = ""
    prior: float = 0.0


@dataclass
class Node:
    """A node of the tree of all phrases."""

    children: dict[str, "Node"] = field(default_factory=dict)
    phrases: list[Phrase] = field(default_factory=list)


_SHADE = "[light|dark|pale|bright|deep|pastel]"
_HAIR_COLORS: Mapping[str, str] = {
    "black": "black|dark|jet_black|raven",
    "brown": "brown|chestnut|brunette",
    "blonde": "blonde|blond|yellow|golden|gold|fair",
    "orange": "orange|ginger",
    "red": "red|crimson|scarlet",
    "pink": "pink",
    "purple": "purple|violet|lavender",
    "blue": "blue|sky_blue|navy|navy_blue",
    "green": "green|mint",
    "white": "white|silver|gray|grey",
}
_BACKGROUNDS: Mapping[str, str] = {
    "white": "white",
    "gray": "gray|grey|silver",
    "black": "black|dark",
    "blue": "blue|sky_blue|navy|navy_blue",
    "green": "green|mint|mint_green",
    "yellow": "yellow|cream|golden",
    "pink": "pink",
    "purple": "purple|lavender|violet",
}
_CLOTHES: Mapping[str, str] = {
    "red": "red|crimson|scarlet",
    "blue": "blue|sky_blue|navy|navy_blue",
    "green": "green|mint",
    "yellow": "yellow",
    "white": "white|silver",
    "black": "black",
}
_SKINS: Mapping[str, str] = {
    "fair": "fair|pale|light|white",
    "tan": "tan|tanned",
    "dark": "dark|brown|dark_brown|black",
}
_LENGTHS: Mapping[str, str] = {
    "short": "short|very_short",
    "bob": "medium|medium_length|bobbed",
    "long": "long|very_long",
    "tied": "tied|tied_up",
}
_PLAIN_GARMENTS = "shirt|clothes|top|tshirt|t_shirt|tee|clothing|outfit"
GARMENTS = (
    "dress", "sweater", "hoodie", "jacket", "blouse", "coat", "kimono", "suit", "uniform", "cardigan", "vest", "robe",
)  # fmt: skip
"""Garments that are told besides their colour: the noun is kept as a tag."""
_TIED = "in_a_bun|in_bun|tied|tied_up|tied_back|up|bun|updo|ponytail|in_a_ponytail|pigtails|twintails|braid|braids"
_WITHOUT = "no|without|without_any|not_wearing|minus|zero"
_WEARING = "[wearing]"

_SINGLE: Mapping[tuple[str, str], tuple[tuple[str, float], ...]] = {
    ("hair_color", "blonde"): (("blonde|blond [girl|boy|woman|man]", 0.1),),
    ("hair_color", "red"): (("redhead|redheaded|red_head|red_headed", 0.1),),
    ("hair_style", "bob"): (("bob [cut|hair|haircut|hairstyle]", 0.0), ("bobcut|bobhair", 0.2)),
    ("hair_style", "tied"): (
        ("ponytail|pigtails|twintails|twin_tails|braid|braids|updo|hair_bun|hair_buns", 0.0),
        ("bun|buns", 0.1),
        (f"hair {_TIED}", 0.0),
    ),
    ("skin", "tan"): (("tan|tanned", 0.2), ("sunburned|suntanned", 0.1)),
    ("skin", "fair"): (("pale", 0.4),),
    ("expression", "smile"): (("[happy|gentle|soft|slight|light|big|bright] smile|smiling|smiles|smiley", 0.0),),
    ("expression", "laugh"): (
        ("laugh|laughing|laughs|laughter", 0.0),
        ("mouth [is] open|wide_open|opened", 0.0),
        ("open mouth|mouthed", 0.0),
        ("grin|grinning|big_grin|wide_grin|big_laugh|cheerful|joyful", 0.0),
        ("happy [face|expression]", 0.0),
    ),
    ("expression", "frown"): (
        ("frown|frowning|frowns", 0.0),
        ("sad|serious|unhappy|angry|grumpy|gloomy|crying [face|expression|look]", 0.0),
    ),
    ("glasses", "yes"): ((f"{_WEARING} glasses|eyeglasses|spectacles|eyewear", 0.0), ("bespectacled", 0.0)),
    ("glasses", "no"): (
        (f"{_WITHOUT} {_WEARING} glasses|eyeglasses|spectacles|eyewear", 0.0),
        (f"glasses|eyeglasses {NOT}|off|removed|no", 0.1),
    ),
    ("earrings", "yes"): ((f"{_WEARING} [gold|golden|silver] earrings|earring|ear_rings", 0.0),),
    ("earrings", "no"): (
        (f"{_WITHOUT} {_WEARING} [gold] earrings|earring|ear_rings", 0.0),
        (f"earrings|earring {NOT}|off|removed|no", 0.1),
    ),
    ("scale", "close"): (("close up [portrait|shot]", 0.0), ("closeup [portrait|shot]", 0.0)),
    ("scale", "normal"): (("portrait|medium_shot|bust_shot|half_body", 0.0),),
    ("scale", "far"): (("far_away|from_afar|afar|small_figure|in_the_distance|long_shot|wide_shot", 0.0),),
    ("tilt", "none"): (("upright|straight_head|head_straight|head_upright|not_tilted", 0.0), (f"tilted {NOT}", 0.0)),
    ("position", "center"): (
        ("in|at [the] center|centre|middle", 0.0),
        ("centered|centred", 0.0),
        ("center|centre|middle", 0.3),
    ),
}

_FILLERS = """
a an the with and or of is are be has have having who whose that this her his she he it its they their them my me i you
wearing wears wear worn in at by for to from as but also one some very really quite so just there on please draw make
create generate want would like show give picture drawing image illustration photo painting art character person people
someone anybody colored coloured color colour dressed put putting position placed standing style shes hes im w
face head simple plain length s
"""
"""What stands around phrases; no mistake is mended into one of them."""
_LINKS = "a an the of is are her his she he it its their that has in to colored coloured color colour and with i"
_TEXTURES = "wavy curly straight messy fluffy shiny silky spiky thick thin soft beautiful cute pretty natural"
"""What may stand between a colour and the hair."""
_QUALITIES = """
masterpiece|best_quality|high_quality|highest_quality|highly_detailed|detailed|ultra_detailed|high_resolution|4k|8k|hd
"""


def expand(pattern: str) -> Iterator[tuple[str, ...]]:
    """Every run of words that `pattern` stands for."""
    slots = []
    for slot in pattern.split():
        options = slot.strip("[]").split("|")
        slots.append(([""] if slot.startswith("[") else []) + options)
    for chosen in itertools.product(*slots):
        yield tuple(word for option in chosen for word in option.split("_") if word)


class Phrases:
    """The tree of phrases, the words in it, and the words around it."""

    def __init__(self) -> None:
        self.root = Node()
        self._vocabulary()
        self._hair()
        self._colored()
        self._directions()
        self._rest()
        self.fillers = frozenset(_FILLERS.split())
        self.links = frozenset(_LINKS.split())
        self.vocabulary = frozenset(self._words(self.root))
        self.guests = frozenset(_TEXTURES.split())
        self.known = (self.vocabulary | self.fillers) - {NOT}

    def add(self, pattern: str, phrase: Phrase) -> None:
        """Teaches `pattern`."""
        for run in expand(pattern):
            node = self.root
            for word in run:
                node = node.children.setdefault(word, Node())
            if all((known.pairs, known.subject) != (phrase.pairs, phrase.subject) for known in node.phrases):
                node.phrases.append(phrase)

    def _words(self, node: Node) -> Iterator[str]:
        for word, child in node.children.items():
            yield word
            yield from self._words(child)

    def _vocabulary(self) -> None:
        for attribute, values in ATTRIBUTES.items():
            for value in values:
                for said in words(attribute, value):
                    self.add(said.replace("-", " "), Phrase(((attribute, value),)))
        for pair, patterns in _SINGLE.items():
            for pattern, prior in patterns:
                self.add(pattern, Phrase((pair,), prior=prior))

    def _hair(self) -> None:
        for value, color in _HAIR_COLORS.items():
            pair = ("hair_color", value)
            self.add(f"{_SHADE} {color} hair|haired|hairs|hairstyle|hairdo|haircut", Phrase((pair,)))
            self.add(f"hair [color|colour] {_SHADE} {color}", Phrase((pair,), prior=0.15))
            self.add(f"{_SHADE} {color} bob [cut|hair|haircut]", Phrase((pair, ("hair_style", "bob"))))
            tied = Phrase((pair, ("hair_style", "tied")))
            self.add(f"{color} hair {_TIED}", tied)
            self.add(f"{color} bun|updo|ponytail|pigtails|twintails|braid|braids", tied)
            for style, length in _LENGTHS.items():
                both = (pair, ("hair_style", style))
                self.add(f"{length} {_SHADE} {color} hair|haired", Phrase(both))
                self.add(f"{color} {length} hair|haired", Phrase(both))
                self.add(f"{color} hair {length}", Phrase(both, prior=0.1))
                self.add(f"hair {color} {length}", Phrase(both, prior=0.3))
                self.add(f"hair {length} {color}", Phrase(both, prior=0.3))
        for style, length in _LENGTHS.items():
            self.add(f"{length} hair|haired|haircut|hairstyle", Phrase((("hair_style", style),)))
            self.add(f"hair [length] {length}", Phrase((("hair_style", style),), prior=0.15))

    def _colored(self) -> None:
        for value, color in _BACKGROUNDS.items():
            self.add(f"{_SHADE} {color} background|bg|backdrop", Phrase((("background", value),)))
            self.add(f"background|bg|backdrop {_SHADE} {color}", Phrase((("background", value),), prior=0.15))
        for value, color in _CLOTHES.items():
            pairs = (("clothes_color", value),)
            self.add(f"{_SHADE} {color} {_PLAIN_GARMENTS}", Phrase(pairs))
            self.add(f"{_PLAIN_GARMENTS} {color}", Phrase(pairs, prior=0.15))
            self.add(f"wearing|dressed_in|wears {color}", Phrase(pairs, prior=0.3))
            for garment in GARMENTS:
                self.add(f"{_SHADE} {color} {garment}", Phrase(pairs, extra=garment))
        for value, color in _SKINS.items():
            self.add(f"{color} skin|skinned|complexion", Phrase((("skin", value),)))
            self.add(f"skin {color}", Phrase((("skin", value),), prior=0.15))

    def _directions(self) -> None:
        for side in ("left", "right"):
            position = Phrase((("position", side),))
            self.add(f"on|at [the] {side} [side]", position)
            self.add(f"{side} [hand] side", position)
            self.add(side, Phrase((("position", side),), prior=0.9))
            tilt = Phrase((("tilt", side),))
            self.add(f"[head] tilted|tilting|tilt|tilts|leaning [head] [to] [the] {side}", tilt)
            self.add(f"[head] {side} [head] tilted|tilt|tilting [head]", tilt)
            facing = Phrase((("facing", side),))
            self.add(f"facing|looking|faces|looks|turned|turning [to] [the] {side}", facing)
            self.add(f"[face] {side} facing|looking|turned", facing)

    def _rest(self) -> None:
        self.add("looking at [the] viewer|camera", Phrase(extra="looking at viewer"))
        self.add("girl|girls|1girl|woman|lady|female|schoolgirl|chick", Phrase(subject="1girl"))
        self.add("boy|boys|1boy|man|guy|male|schoolboy|dude", Phrase(subject="1boy"))
        for quality in _QUALITIES.strip().split("|"):
            self.add(quality, Phrase(quality=quality.replace("_", " ")))


@lru_cache(maxsize=1)
def phrases() -> Phrases:
    """The one tree; built at first use."""
    return Phrases()

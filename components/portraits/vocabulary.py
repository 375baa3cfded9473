"""The attributes of a character: their values, the words for them, and which drawing style can show which.

A *value* is coarse on purpose: it names what anybody sees at 128x128. How a style draws a value (which DiceBear
variants) stands in `VARIANTS`, written by looking at contact sheets of every variant.
"""

from collections.abc import Mapping, Sequence

from components.prompting.vocabulary import Language, Vocabulary

Option = Mapping[str, str]

DEMO_STYLE = "lorelei"
BASE_STYLES: tuple[str, ...] = ("adventurer", "toon-head", "micah", "open-peeps")
STYLES: tuple[str, ...] = (*BASE_STYLES, DEMO_STYLE)

# attribute -> value -> (English words, Japanese words); the first word is the canonical one.
_WORDS: Mapping[str, Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "hair_color": {
        "black": (("black hair", "dark hair"), ("黒髪", "黒い髪")),
        "brown": (("brown hair", "brunette"), ("茶髪", "茶色い髪")),
        "blonde": (("blonde hair", "blond hair", "yellow hair"), ("金髪", "ブロンド")),
        "orange": (("orange hair", "ginger hair"), ("オレンジ髪", "橙色の髪")),
        "red": (("red hair", "redhead"), ("赤髪", "赤い髪")),
        "pink": (("pink hair",), ("ピンク髪", "桃色の髪")),
        "purple": (("purple hair", "violet hair"), ("紫髪", "紫の髪")),
        "blue": (("blue hair",), ("青髪", "青い髪")),
        "green": (("green hair",), ("緑髪", "緑の髪")),
        "white": (("white hair", "silver hair"), ("白髪", "銀髪")),
    },
    "hair_style": {
        "short": (("short hair",), ("ショートヘア", "短い髪")),
        "bob": (("bob cut", "medium hair", "bob hair"), ("ボブカット", "ボブ")),
        "long": (("long hair", "very long hair"), ("ロングヘア", "長い髪")),
        "tied": (("tied hair", "hair up", "hair bun", "updo"), ("結んだ髪", "まとめ髪")),
    },
    "skin": {
        "fair": (("fair skin", "pale skin", "light skin"), ("色白", "白い肌")),
        "tan": (("tan skin", "tanned skin"), ("日焼け", "小麦色の肌")),
        "dark": (("dark skin", "brown skin"), ("褐色肌", "褐色の肌")),
    },
    "expression": {
        "smile": (("smile", "smiling", "gentle smile"), ("微笑み", "笑顔")),
        "laugh": (("laughing", "open mouth", "big grin", "happy"), ("大笑い", "口を開けた笑顔")),
        "frown": (("frown", "frowning", "sad", "serious"), ("しかめ面", "悲しい顔")),
    },
    "glasses": {
        "yes": (("glasses", "wearing glasses", "eyeglasses"), ("眼鏡", "メガネ")),
        "no": (("no glasses", "without glasses"), ("眼鏡なし", "裸眼")),
    },
    "earrings": {
        "yes": (("earrings", "gold earrings", "wearing earrings"), ("イヤリング", "ピアス")),
        "no": (("no earrings", "without earrings"), ("イヤリングなし",)),
    },
    "clothes_color": {
        "red": (("red shirt", "red clothes", "red top"), ("赤い服",)),
        "blue": (("blue shirt", "blue clothes", "blue top"), ("青い服",)),
        "green": (("green shirt", "green clothes", "green top"), ("緑の服",)),
        "yellow": (("yellow shirt", "yellow clothes", "yellow top"), ("黄色い服",)),
        "white": (("white shirt", "white clothes", "white top"), ("白い服",)),
        "black": (("black shirt", "black clothes", "black top"), ("黒い服",)),
    },
    "background": {
        "white": (("white background",), ("白背景", "白い背景")),
        "gray": (("gray background", "grey background"), ("灰色の背景", "グレー背景")),
        "black": (("black background", "dark background"), ("黒背景", "黒い背景")),
        "blue": (("blue background", "light blue background", "sky blue background"), ("青背景", "水色の背景")),
        "green": (("green background", "light green background", "mint background"), ("緑背景", "緑の背景")),
        "yellow": (("yellow background", "cream background"), ("黄色背景", "黄色の背景")),
        "pink": (("pink background",), ("ピンク背景", "桃色の背景")),
        "purple": (("purple background", "lavender background"), ("紫背景", "紫の背景")),
    },
    "position": {
        "left": (("on the left", "left side"), ("左側", "左寄り")),
        "center": (("in the center", "centered", "in the middle"), ("中央", "真ん中")),
        "right": (("on the right", "right side"), ("右側", "右寄り")),
    },
    "scale": {
        "close": (("close-up", "closeup"), ("アップ", "クローズアップ")),
        "normal": (("portrait", "medium shot"), ("ポートレート", "肖像")),
        "far": (("far away", "from afar", "small figure"), ("遠景", "引き")),
    },
    "tilt": {
        "left": (("head tilted left", "tilted to the left"), ("左に傾けた頭", "左に傾く")),
        "none": (("upright", "straight head"), ("まっすぐ", "傾きなし")),
        "right": (("head tilted right", "tilted to the right"), ("右に傾けた頭", "右に傾く")),
    },
    "facing": {
        "left": (("facing left", "looking left"), ("左向き", "左を向く")),
        "right": (("facing right", "looking right"), ("右向き", "右を向く")),
    },
}

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {attribute: tuple(values) for attribute, values in _WORDS.items()}
"""Attribute (a head of the judge) -> ids of its values. The style is a head of its own and not listed here."""


def _each(option: str, *variants: str) -> tuple[Option, ...]:
    return tuple({option: variant} for variant in variants)


def _numbered(option: str, prefix: str, *numbers: int) -> tuple[Option, ...]:
    return _each(option, *(f"{prefix}{number:02}" for number in numbers))


def _pairs(first: str, firsts: Sequence[str], second: str, seconds: Sequence[str]) -> tuple[Option, ...]:
    return tuple({first: a, second: b} for a in firsts for b in seconds)


_NONE: tuple[Option, ...] = ({},)

# style -> attribute -> value -> the DiceBear options that draw it; one of them is chosen by the portrait's seed.
VARIANTS: Mapping[str, Mapping[str, Mapping[str, tuple[Option, ...]]]] = {
    "adventurer": {
        "hair_style": {
            "short": _numbered("hair", "short", 1, 2, 4, 7, 8, 10, 11, 14),
            "bob": _numbered("hair", "long", 1, 21),
            "long": _numbered("hair", "long", 4, 6, 7, 9),
            "tied": _numbered("hair", "long", 10, 11, 13, 15, 23),
        },
        "expression": {
            "smile": _pairs("mouth", ("variant02",), "eyebrows", ("variant10", "variant12")),
            "laugh": _pairs("mouth", ("variant01", "variant25", "variant26"), "eyebrows", ("variant10", "variant12")),
            "frown": _pairs("mouth", ("variant04",), "eyebrows", ("variant02", "variant07", "variant13")),
        },
        "glasses": {"yes": _numbered("glasses", "variant", 2, 4, 5), "no": _NONE},
        "earrings": {"yes": _numbered("earrings", "variant", 2), "no": _NONE},
        "": {"": _numbered("eyes", "variant", 23, 24, 26)},
    },
    "toon-head": {
        "hair_style": {
            "short": _each("hair", "sideComed", "undercut"),
            "bob": _pairs("hair", ("sideComed",), "rearHair", ("neckHigh",)),
            "long": _pairs("hair", ("sideComed",), "rearHair", ("longStraight", "longWavy")),
            "tied": _each("hair", "bun"),
        },
        "expression": {
            "smile": _pairs("mouth", ("smile",), "eyebrows", ("happy", "neutral")),
            "laugh": _pairs("mouth", ("laugh",), "eyebrows", ("happy", "raised")),
            "frown": ({"mouth": "sad", "eyebrows": "sad"}, {"mouth": "angry", "eyebrows": "angry"}),
        },
        "clothes_color": {"": _each("clothes", "dress", "tShirt", "turtleNeck")},
        "": {"": _each("eyes", "happy", "wide")},
    },
    "micah": {
        "hair_style": {"short": _each("hair", "fonze"), "bob": _each("hair", "pixie"), "long": _each("hair", "full")},
        "expression": {
            "smile": _pairs("mouth", ("smile", "smirk"), "eyebrows", ("up", "eyelashesUp")),
            "laugh": _pairs("mouth", ("laughing",), "eyebrows", ("up", "eyelashesUp")),
            "frown": _pairs("mouth", ("frown", "sad"), "eyebrows", ("down", "eyelashesDown")),
        },
        "glasses": {"yes": _each("glasses", "round", "square"), "no": _NONE},
        "earrings": {"yes": _each("earrings", "hoop"), "no": _NONE},
        "clothes_color": {"": _each("clothes", "crew", "open")},
        "": {"": _pairs("eyes", ("eyes", "round"), "nose", ("curve", "pointed", "tound"))},
    },
    "open-peeps": {
        "hair_style": {
            "short": _each("head", "grayShort", "short1", "short2", "short4", "short5", "pomp"),
            "bob": _each("head", "bangs2", "medium1"),
            "long": _each("head", "long"),
            "tied": _each("head", "grayBun", "bun2", "buns"),
        },
        "expression": {
            "smile": _each("expression", "smile", "calm"),
            "laugh": _each("expression", "smileBig", "smileLOL", "smileTeethGap"),
            "frown": _each("expression", "solemn", "veryAngry"),
        },
        "glasses": {"yes": _each("accessories", "glasses3", "glasses4", "glasses5"), "no": _NONE},
        "clothes_color": {"": _NONE},
    },
    "lorelei": {
        "hair_style": {
            "short": _numbered("hair", "variant", 1, 2, 3, 6, 7, 8, 12, 43, 47),
            "bob": _numbered("hair", "variant", 18, 19, 37),
            "long": _numbered("hair", "variant", 13, 16, 23, 35),
            "tied": _numbered("hair", "variant", 26, 31, 33, 36, 38),
        },
        "expression": {
            "smile": _each("mouth", "happy01", "happy02"),
            "laugh": _each("mouth", "happy05", "happy09"),
            "frown": _each("mouth", "sad04", "sad05"),
        },
        "glasses": {"yes": _numbered("glasses", "variant", 1, 3, 4), "no": _NONE},
        "earrings": {"yes": _numbered("earrings", "variant", 3), "no": _NONE},
        "": {
            "": _pairs(
                "eyes",
                [f"variant{n:02}" for n in (14, 21, 24)],
                "head",
                [f"variant{n:02}" for n in (1, 2, 3, 4)],
            )
        },
    },
}

_EVERYWHERE = ("hair_color", "skin", "background", "position", "scale", "tilt")
_FRONTAL = ("toon-head",)


def values(style: str, attribute: str) -> tuple[str, ...]:
    """The values of `attribute` that `style` can draw; empty where it cannot show the attribute at all."""
    if attribute in _EVERYWHERE or (attribute == "facing" and style not in _FRONTAL):
        return ATTRIBUTES[attribute]
    table = VARIANTS[style].get(attribute, {})
    return ATTRIBUTES[attribute] if "" in table else tuple(table)


def shows(style: str, attribute: str, value: str | None = None) -> bool:
    """Whether `style` can show `attribute` (and, where given, this very value: micah has no tied hair)."""
    offered = values(style, attribute)
    return bool(offered) if value is None else value in offered


def covered(style: str, attributes: Mapping[str, str]) -> frozenset[str]:
    """Attributes that nobody can see beside these: a face that fills the frame, or long hair, hides the clothes."""
    hair = style == "open-peeps" and attributes.get("hair_style") == "long"
    return frozenset({"clothes_color"} if hair or attributes.get("scale") == "close" else ())


def shared(style_a: str, style_b: str) -> tuple[str, ...]:
    """The attributes that both styles show, in the order of `ATTRIBUTES`."""
    return tuple(attribute for attribute in ATTRIBUTES if shows(style_a, attribute) and shows(style_b, attribute))


def words(attribute: str, value: str, language: Language = "en") -> tuple[str, ...]:
    """The words for a value, the canonical one first."""
    english, japanese = _WORDS[attribute][value]
    return japanese if language == "ja" else english


VOCABULARY = Vocabulary(_WORDS)
"""The same words as a prompt reader knows them."""

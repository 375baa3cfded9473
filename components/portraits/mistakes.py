"""The tables of the attacks: what is mistaken for what."""

import unicodedata
from collections.abc import Mapping, Sequence

LETTERS = "abcdefghijklmnopqrstuvwxyz"
INVISIBLE = ("\u200b", "\u200c", "\u200d", "\u2060", "\u00ad", "\ufeff")

FUNCTION_WORDS = frozenset({"a", "an", "the", "in", "on", "of", "to", "with", "without", "from", "up", "no"})
"""Never hit: losing `no` would change what is asked, not how it is written."""

_ROWS = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))


def _keyboard() -> dict[str, tuple[str, ...]]:
    """Keys that touch on a QWERTY keyboard, from the offsets of its rows."""
    places = {key: (x + shift, y) for y, (row, shift) in enumerate(_ROWS) for x, key in enumerate(row)}
    return {
        key: tuple(other for other, (u, v) in places.items() if other != key and abs(u - x) <= 1.0 and abs(v - y) <= 1)
        for key, (x, y) in places.items()
    }


NEIGHBOURS: Mapping[str, Sequence[str]] = _keyboard()

# Cyrillic, Greek, Latin Extended, mathematical and IPA letters, leetspeak.
LOOK_ALIKES: Mapping[str, Sequence[str]] = {
    "a": ("а", "ɑ", "α", "à", "á", "@"), "b": ("Ь", "ƅ", "ḅ", "𝐛"), "c": ("с", "ϲ", "ç", "ⅽ"),
    "d": ("ԁ", "ɗ", "ď", "ⅾ"), "e": ("е", "ё", "é", "ę", "3"), "f": ("ƒ", "𝖿", "ḟ"), "g": ("ɡ", "ġ", "ğ", "9"),
    "h": ("һ", "ḥ", "ħ"), "i": ("і", "ı", "ï", "1", "l"), "j": ("ј", "ʝ"), "k": ("κ", "ķ", "𝐤"),
    "l": ("ӏ", "1", "I", "ł"), "m": ("ｍ", "ṃ", "ⅿ"), "n": ("ո", "ñ", "ņ"), "o": ("о", "ο", "0", "ö", "ø"),
    "p": ("р", "ρ", "ṗ"), "q": ("ԛ", "ʠ"), "r": ("ŗ", "ř", "𝐫"), "s": ("ѕ", "ş", "ś", "5", "$"),
    "t": ("ţ", "ť", "ṭ", "7"), "u": ("υ", "ս", "ü", "ų"), "v": ("ν", "ѵ", "ⅴ"), "w": ("ԝ", "ŵ", "ѡ"),
    "x": ("х", "ҳ", "ⅹ"), "y": ("у", "ý", "ү"), "z": ("ż", "ž", "ᴢ"),
}  # fmt: skip

HOMOPHONES: Mapping[str, Sequence[str]] = {
    "blue": ("blew",), "red": ("read", "redd"), "white": ("wight", "wite"), "green": ("grean", "grene"),
    "gray": ("grae", "grai"), "grey": ("grae", "greigh"), "black": ("blak", "blacque"), "brown": ("broun",),
    "pink": ("pinc", "pinck"), "purple": ("perple", "purpel"), "violet": ("vilet", "violit"),
    "yellow": ("yello", "yelow"), "orange": ("orenge", "ornge"), "blonde": ("blond e", "blawnd"),
    "blond": ("blawned",), "silver": ("sylver",), "hair": ("hare",), "fair": ("fare",), "pale": ("pail",),
    "tan": ("tann",), "tanned": ("tand",), "dark": ("darc",), "bun": ("bunn",), "tied": ("tide", "tyed"),
    "bob": ("bobb",), "short": ("shorte", "shourt"), "long": ("lawng",), "medium": ("meedium", "mediem"),
    "smile": ("smyle",), "smiling": ("smyling",), "sad": ("sadd",), "serious": ("sirius",), "happy": ("happie",),
    "frown": ("froun",), "laughing": ("laffing",), "mouth": ("mowth",), "grin": ("grinn",),
    "glasses": ("glassis", "glases"), "eyeglasses": ("iglasses",), "earrings": ("earings", "eerings"),
    "gold": ("goled",), "left": ("lefft",), "right": ("write", "rite"), "center": ("senter",),
    "centered": ("sentered",), "middle": ("midle", "middel"), "close": ("cloze", "klose"), "portrait": ("portret",),
    "far": ("phar",), "small": ("smawl",), "upright": ("uprite",), "straight": ("strait",), "head": ("hed",),
    "sky": ("skie",), "light": ("lite",), "mint": ("mynt",), "cream": ("creem",), "lavender": ("lavendar",),
    "ginger": ("jinjer",),
}  # fmt: skip

# A sound, and another way in which English spells it.
SPELLINGS: Sequence[tuple[str, str]] = (
    ("ph", "f"), ("f", "ph"), ("ck", "k"), ("c(?=[aou])", "k"), ("k(?!n)", "c"), ("ee", "ea"), ("ea", "ee"),
    ("ai", "ay"), ("igh", "ie"), ("ow", "ou"), ("ou", "ow"), ("oo", "ue"), ("ss", "s"), ("ll", "l"), ("tt", "t"),
    ("rr", "r"), ("ll?$", "le"), ("y$", "ie"), ("ie", "y"), ("er$", "ur"), ("ur", "er"), ("or$", "er"), ("s$", "z"),
    ("g(?=[ei])", "j"), ("ew", "oo"), ("i(?=.e$)", "y"), ("a(?=.e$)", "ai"), ("qu", "kw"), ("x", "ks"), ("wh", "w"),
    ("kn", "n"), ("wr", "r"), ("au", "aw"), ("tion", "shun"), ("i(?=n)", "e"), ("e(?=n)", "i"),
)  # fmt: skip

_FLICK = (
    "あいうえお",
    "かきくけこ",
    "さしすせそ",
    "たちつてと",
    "なにぬねの",
    "はひふへほ",
    "まみむめも",
    "らりるれろ",
)
_VOICED = (
    *(
        "かが",
        "きぎ",
        "くぐ",
        "けげ",
        "こご",
        "さざ",
        "しじ",
        "すず",
        "せぜ",
        "そぞ",
        "ただ",
        "ちぢ",
        "つづ",
        "てで",
        "とど",
    ),
    *("はばぱ", "ひびぴ", "ふぶぷ", "へべぺ", "ほぼぽ"),
)


def _kana() -> dict[str, tuple[str, ...]]:
    """A flick in the wrong direction on a telephone, or a forgotten voicing mark; katakana alike."""
    near: dict[str, set[str]] = {}
    for group in (*_FLICK, *_VOICED):
        for kana in group:
            near.setdefault(kana, set()).update(set(group) - {kana})
    both = {kana: tuple(sorted(others)) for kana, others in near.items()}
    return both | {chr(ord(kana) + 0x60): tuple(chr(ord(other) + 0x60) for other in o) for kana, o in both.items()}


KANA_NEIGHBOURS: Mapping[str, Sequence[str]] = _kana()

JAPANESE_LOOK_ALIKES: Mapping[str, Sequence[str]] = {
    "ー": ("—",), "ヘ": ("へ",), "リ": ("り",), "ン": ("ソ",), "シ": ("ツ",), "ツ": ("シ",), "ソ": ("ン",),
    "白": ("⽩", "臼"), "赤": ("⾚", "赧"), "金": ("⾦", "全"), "色": ("⾊", "邑"), "大": ("太",), "長": ("⻑",),
    "青": ("胄",), "黒": ("熏",), "髪": ("鬆",), "緑": ("緣",), "茶": ("苶",), "笑": ("笶",), "服": ("脤",),
    "肌": ("肋",), "い": ("ぃ", "レヽ"), "な": ("ﾅょ",), "き": ("さ",), "ブ": ("プ",), "ボ": ("ポ",), "ピ": ("ビ",),
}  # fmt: skip

SAME_SOUND: Mapping[str, Sequence[str]] = {
    "髪": ("嚙", "かみ"), "黒": ("畔", "くろ"), "赤": ("閼", "あか"), "青": ("蒼", "あお"),
    "白": ("代", "しろ"), "緑": ("翠", "みどり"), "紫": ("むらさき",), "黄": ("木", "き"), "茶": ("ちゃ",),
    "桃": ("もも",), "橙": ("だいだい",), "金": ("きん", "菌"), "銀": ("ぎん", "吟"), "服": ("幅", "ふく"),
    "色": ("いろ",), "背": ("拝",), "景": ("啓",), "眼": ("め",), "鏡": ("かがみ",), "肌": ("はだ",),
    "笑": ("藁", "わら"), "顔": ("かお",), "左": ("ひだり",), "右": ("みぎ",), "長": ("永", "なが"),
    "短": ("みじか",), "向": ("無",), "傾": ("かたむ",), "悲": ("かな",), "褐": ("喝",), "焼": ("や",),
    "結": ("ゆ",), "寄": ("依",), "央": ("応",), "遠": ("円",), "中": ("ちゅう",),
}  # fmt: skip


def _half_width_katakana() -> dict[str, str]:
    """Each katakana as the half-width marks that NFKC joins to it."""
    halves = [chr(code) for code in range(0xFF66, 0xFF9E)]
    marked = [half + mark for half in halves for mark in "\uff9e\uff9f"]
    joined = {unicodedata.normalize("NFKC", half): half for half in (*halves, *marked)}
    return {full: half for full, half in joined.items() if len(full) == 1}


HALF_WIDTH: Mapping[str, str] = _half_width_katakana()

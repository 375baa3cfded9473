"""English prompts as one Japanese sentence that asks for the same. Shares no table with what reads it."""

from collections.abc import Mapping

# attribute -> value -> what stands before the noun, in the order in which a Japanese speaker would say it.
_BEFORE: Mapping[str, Mapping[str, str]] = {
    "background": {
        "white": "白い背景に", "gray": "グレーの背景に", "black": "黒い背景に", "blue": "青い背景に",
        "green": "緑の背景に", "yellow": "黄色い背景に", "pink": "ピンクの背景に", "purple": "紫の背景に",
    },
    "position": {"left": "左側にいる", "center": "真ん中にいる", "right": "右側にいる"},
    "clothes_color": {
        "red": "赤い服を着た", "blue": "青い服を着た", "green": "緑の服を着た",
        "yellow": "黄色い服を着た", "white": "白い服を着た", "black": "黒い服を着た",
    },
    "glasses": {"yes": "眼鏡をかけた", "no": "眼鏡をかけていない"},
    "earrings": {"yes": "イヤリングをつけた", "no": "イヤリングをつけていない"},
    "tilt": {"left": "頭を左に傾けた", "none": "頭をまっすぐにした", "right": "頭を右に傾けた"},
    "facing": {"left": "左を向いた", "right": "右を向いた"},
    "expression": {"smile": "微笑んでいる", "laugh": "口を開けて笑っている", "frown": "悲しそうな顔の"},
    "skin": {"fair": "色白の", "tan": "日焼けした", "dark": "褐色の肌の"},
    "hair_style": {"short": "ショートヘアで", "bob": "ボブカットで", "long": "長い髪で", "tied": "髪を結んだ"},
    "hair_color": {
        "black": "黒髪の", "brown": "茶色い髪の", "blonde": "金髪の", "orange": "オレンジ色の髪の", "red": "赤い髪の",
        "pink": "ピンクの髪の", "purple": "紫の髪の", "blue": "青い髪の", "green": "緑の髪の", "white": "白髪の",
    },
}  # fmt: skip
_AFTER: Mapping[str, str] = {"close": "のアップ", "normal": "のポートレート", "far": "を遠くから"}
_PERSON = "人物"


def japanese(attributes: Mapping[str, str]) -> str:
    """`青い背景に眼鏡をかけたピンクの髪の人物のアップ`: all of `attributes` of the vocabulary, none left out."""
    before = "".join(told[attributes[name]] for name, told in _BEFORE.items() if name in attributes)
    return f"{before}{_PERSON}{_AFTER.get(attributes.get('scale', ''), '')}"

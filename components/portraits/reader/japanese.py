"""Japanese words as people type them, and the English words that the phrases know them by.

Keys are levelled (`characters.kana`): ピンク, ぴんく and ﾋﾟﾝｸ are one entry. A reading (かみ) stands beside its kanji
(髪); kanji that an input method offers for the same reading (紙, 神) cost a little, and so the context decides.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from components.portraits.reader.characters import hiragana, is_kana, kana
from components.portraits.reader.known import zipf
from components.portraits.reader.phrases import NOT

MAX_WORD = 11
_LONGEST_KANJI = 4
_HOMOPHONE, _ALIKE = 0.5, 0.5
_STRANGE, _LONG_VOWEL = 1.0, 0.5
_SELDOM = 3.5
"""Zipf frequency of a kanji below which it is seldom a word of its own."""

_WORDS = f"""
black: 黒 黒い 黒色 黒色い くろ くろい くろいろ ブラック 真っ黒 まっくろ 漆黒
brown: 茶 茶色 茶色い ちゃいろ ちゃいろい ブラウン 栗色 くりいろ 焦げ茶 こげ茶 こげちゃ
blonde: 金 金色 きんいろ ブロンド ゴールド
yellow: 黄 黄色 黄色い きいろ きいろい イエロー
orange: オレンジ 橙 橙色 だいだい だいだいいろ オレンジ色
red: 赤 赤い 赤色 あか あかい あかいろ レッド 紅 紅色 真っ赤 まっか
pink: ピンク 桃 桃色 ももいろ ピンク色 ぴんくいろ 桜色 さくらいろ
purple: 紫 紫色 むらさき むらさきいろ パープル すみれ色 バイオレット
blue: 青 青い 青色 あお あおい あおいろ ブルー 紺 紺色 こんいろ 藍色 あいいろ 蒼 蒼い 碧い
sky blue: 水色 みずいろ 空色 そらいろ スカイブルー ライトブルー
green: 緑 緑色 みどり みどりいろ グリーン 黄緑 黄緑色 きみどり 翠
mint: ミント ミントグリーン ミント色
white: 白 白い 白色 しろ しろい ホワイト 真っ白 まっしろ
silver: 銀 銀色 ぎんいろ シルバー
gray: 灰 灰色 はいいろ グレー グレイ ねずみ色 鼠色
cream: クリーム クリーム色
lavender: ラベンダー ラベンダー色 藤色
light: 薄い うすい 淡い あわい 明るい あかるい 薄 ライト
dark: 濃い こい 暗い くらい ダーク
hair: 髪 髪の毛 かみ かみのけ ヘア ヘアー 頭髪 髪色 髪の色 毛 髪型 ヘアスタイル ヘアカラー
black hair: 黒髪 くろかみ くろがみ 黒毛
brown hair: 茶髪 ちゃぱつ ちゃかみ ブルネット 栗毛
blonde hair: 金髪 きんぱつ パツキン
red hair: 赤髪 赤毛 あかがみ あかげ あかかみ
blue hair: 青髪 あおがみ あおかみ
green hair: 緑髪 みどりがみ みどりかみ
purple hair: 紫髪 むらさきがみ むらさきかみ
pink hair: ピンク髪 桃髪 ピンクがみ ピンクかみ ピンクヘア
white hair: 白髪 しらが はくはつ しろかみ しろがみ
silver hair: 銀髪 ぎんぱつ
orange hair: オレンジ髪 橙髪
long: 長い ながい 長め ながめ ロング 長く
short: 短い みじかい 短め みじかめ 短く
long hair: ロングヘア ロングヘアー 長髪 ちょうはつ ロン毛 ロングの髪 超ロング スーパーロング
short hair: ショートヘア ショートヘアー ショート ショートカット 短髪 たんぱつ ベリーショート
bob: ボブ ボブカット ボブヘア ボブヘアー おかっぱ オカッパ
medium hair: ミディアム ミディアムヘア セミロング セミロングヘア ミディアムヘアー 中くらいの髪 肩までの髪
ponytail: ポニーテール ポニテ サイドテール
twintails: ツインテール ツインテ
braids: おさげ お下げ
updo: まとめ髪 まとめがみ まとめた髪 アップヘア アップスタイル お団子ヘア お団子頭 おだんごヘア だんごヘア 結んだ髪
updo: 結い髪
bun: お団子 おだんご 団子 だんご シニヨン
braid: 三つ編み みつあみ 三編み
tied: 結んだ むすんだ 結った ゆった 束ねた たばねた まとめた 縛った しばった 結んで 束ねて まとめて 結び くくった
tied: 結んでいる
skin: 肌 はだ 肌色 皮膚 お肌 素肌
fair skin: 色白 いろじろ 色白肌 美白 白い肌 白肌 色白の肌
tan skin: 日焼け ひやけ 日焼けした肌 日焼け肌 小麦色 こむぎいろ 小麦色の肌 小麦肌
dark skin: 褐色 かっしょく 褐色肌 褐色の肌 色黒 いろぐろ 浅黒い 黒い肌 茶色い肌 黒肌
smile: 微笑み ほほえみ ほほ笑み 微笑 びしょう 微笑む 微笑んで 微笑んだ 微笑んでる 微笑んでいる ほほえんで ほほえむ
smile: ほほえんでいる
smile: 笑顔 えがお にっこり ニコニコ にこにこ スマイル 笑み えみ 微笑ん 笑って 笑ってる 笑っている わらって にこやか
laugh: 大笑い おおわらい 爆笑 笑う 大声で笑う 高笑い 大笑いして 満面の笑み 満面の笑顔 笑い わらい おお笑い
open mouth: 口を開けた笑顔 口を開けて 口を開けた 開いた口 口開け 口を大きく開け くちをあけた くちをあけて 口をあけた
open mouth: 口をあけて
open mouth: くちをあけたえがお 口を開けて笑
happy: 嬉しそう うれしそう 楽しそう たのしそう 嬉しい うれしい ハッピー 楽しい 幸せそう しあわせ
frown: しかめ面 しかめっ面 しかめつら しかめっつら 顰め面 顔をしかめ 眉をひそめ ふくれっ面 むすっと
sad: 悲しい顔 悲しい かなしい かなしいかお 悲しげ 悲しそう かなしそう 悲しむ 泣き顔 なきがお 泣いて 悲しみ 寂しそう
sad: さびしそう
serious: 真剣 しんけん 真顔 まがお 真面目 まじめ 怒った おこった 怒って 不機嫌 ふきげん 怒り顔 険しい
glasses: 眼鏡 メガネ めがね 眼がね 目がね めがね姿 丸眼鏡 丸メガネ グラス 伊達眼鏡 黒縁眼鏡
glasses {NOT}: 裸眼 らがん
glasses: メガネっ娘 眼鏡っ娘 眼鏡っ子 メガネっ子 めがねっこ
earrings: イヤリング ピアス 耳飾り みみかざり イアリング イヤーリング
clothes: 服 ふく 洋服 ようふく 衣服 衣装 いしょう 服装 衣類 上着 うわぎ
shirt: シャツ Tシャツ ティーシャツ ワイシャツ ブラウス トップス トレーナー
dress: ドレス ワンピース
sweater: セーター ニット
hoodie: パーカー
jacket: ジャケット
coat: コート
uniform: 制服 せいふく
kimono: 着物 きもの 和服
suit: スーツ
background: 背景 はいけい バック バックグラウンド 背後 背景色 後ろ うしろ
left: 左 ひだり
right: 右 みぎ
side: 側 がわ 寄り より よせ 寄せ はじ 端
left side: 左側 左がわ ひだりがわ 左寄り 左より ひだりより 左端 左手
right side: 右側 右がわ みぎがわ 右寄り 右より みぎより 右端 右手
centered: 中央 ちゅうおう 真ん中 まんなか センター 中心 ちゅうしん 画面中央 まん中
closeup: アップ クローズアップ ドアップ 顔アップ 接写 顔のアップ 大写し どあっぷ くろーずあっぷ
up: アップ アップに
portrait: ポートレート ポートレイト 肖像 しょうぞう 肖像画 しょうぞうが 胸像 バストアップ 上半身
from afar: 遠景 えんけい 引き ひき 遠く とおく 遠くから とおくから 遠目 ロングショット 引きの絵 小さく写 遠方
head: 頭 あたま 首 くび
tilted: 傾けた 傾けて 傾け 傾く 傾いた 傾いて 傾ける 傾いている かたむけた かたむく かたむけて 傾げ かしげ 傾げた
tilted: かしげた 傾き かたむき
upright: まっすぐ 真っ直ぐ 真っすぐ 直立 傾きなし 傾き無し かたむきなし まっすぐな頭 傾けない 傾いていない
facing: 向き むき 向く むく 向いた むいた 向いて むいて 向いている 向いてる 見て 見る 見た 見ている 見てる 向け
1girl: 女の子 おんなのこ 女 おんな 少女 しょうじょ 女性 じょせい 女子 じょし 娘 むすめ 美少女 びしょうじょ ガール
1girl: お姉さん 女の人
1boy: 男の子 おとこのこ 男 おとこ 少年 しょうねん 男性 だんせい 男子 だんし 青年 せいねん 美少年 ボーイ お兄さん
1boy: 男の人
{NOT}: なし 無し ナシ ない 無い いない 無く なく なしの なしで 外した はずした 外して いません ありません ません
{NOT}: しない してない
holding: 持つ もつ 持った もった 持って 持っている
person: 人物 人
character: キャラ キャラクター
picture: 絵 画像 画
illustration: イラスト
photo: 写真
face: 顔 かお
expression: 表情 ひょうじょう
simple: シンプルな シンプル
best quality: 最高品質 最高画質 最高傑作
high quality: 高品質 高画質
masterpiece: 傑作
hat: 帽子
sword: 剣 刀
forest: 森
sea: 海
sky: 空
flower: 花
city: 街
school: 学校
eyes: 目 瞳 め
ribbon: リボン
cat ears: 猫耳 ねこみみ ネコミミ
cat: 猫 ねこ
moon: 月
night: 夜
angel: 天使
witch: 魔女
maid: メイド
anime: アニメ アニメ風
"""
_PARTICLES = """
の が は を に で と な も や へ から まで て だ です ます した して する している してる いる ある あり る た いて
おり おって されて させて そして して下さい ください 下さい お願いします 描いて
かけた かけて かけている かけてる 掛けた 掛けて つけた つけて つけている 付けた 付けて 着けた 着けて 着けている 着た
着て 着ている きた きて きている 身につけた 付き つき
"""
_HOMOPHONES = """
hair: 紙 神 上 噛み 加味 守
hair: かに
background: 拝啓 背経 ハイ系
clothes: 福 副 拭く 吹く 複
glasses: 目金 芽が根 女がね
smile: 絵顔
skin: 羽田 膚 機
red: 垢 明い 赤井 紅い
white: 城
blue: 仰 葵 青井
black: 玄 黒井
brown: 茶いろ お茶色
yellow: 黄いろ
purple: 村崎
blonde hair: 禁発 金発 金ぱつ 金パツ
silver hair: 銀発 銀ぱつ
brown hair: 茶発 茶ぱつ
1girl: 女の娘 女のこ 女ノ子
1boy: 男のこ
"""
_ALIKES: Mapping[str, str] = {
    "髪": "髭髮髣", "黒": "里墨", "白": "自百", "緑": "縁録", "青": "責清靑", "赤": "亦", "紫": "柴", "銀": "鋃",
    "眼": "眠眸", "鏡": "境鐘", "背": "肯脊", "景": "影", "服": "腹報", "肌": "机飢", "笑": "咲", "茶": "荼",
    "微": "徴徽", "左": "佐在", "右": "石若", "央": "映", "桃": "挑", "側": "測則", "短": "矩", "褐": "渇",
}  # fmt: skip
"""Kanji that are taken for each other by eye, by handwriting recognition or by an input method."""

_ROWS = (
    "あいうえお", "かきくけこ", "さしすせそ", "たちつてと", "なにぬねの", "はひふへほ", "まみむめも", "らりるれろ",
    "あかさたなはまやらわ", "いきしちにひみり", "うくすつぬふむゆる", "えけせてねへめれ", "おこそとのほもよろ",
)  # fmt: skip
"""A flick keyboard slips inside a row, a romaji keyboard among kana of one vowel."""
_SHAPES = """
かが きぎ くぐ けげ こご さざ しじ すず せぜ そぞ ただ ちぢ つづっ てで とど はばぱ ひびぴ ふぶぷ へべぺ ほぼぽ
あぁ いぃ うぅ えぇ おぉ やゃ ゆゅ よょ わゎ しつ そん んり ずづ じぢ ぬね わねれ るろ はほ きさ おあ めぬ くへ うら
"""
_CLOSE_KANA = frozenset((a, b) for group in _SHAPES.split() for a in group for b in group if a != b)


@dataclass(frozen=True)
class Entry:
    """One Japanese word; `english` is empty for a particle."""

    key: str
    spelling: str
    english: tuple[str, ...]
    cost: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Found:
    """An entry that a stretch of the request may stand for."""

    length: int
    entry: Entry
    cost: float


class Dictionary:
    """All entries by key, and by key less one character, which finds a word with one mistake (Garbe's SymSpell)."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = {}
        self.spellings: set[str] = set()
        words: set[str] = set()
        self._damaged: dict[str, set[str]] = {}
        self._holed: dict[str, set[str]] = {}
        for entry in _entries():
            self.spellings.add(entry.spelling)
            if not entry.why:
                words.add(entry.key)
            known = self.entries.setdefault(entry.key, [])
            if all(entry.english != other.english for other in known):
                known.append(entry)
        self.words = frozenset(words)
        for key in self.entries:
            if not any(map(is_kana, key)):
                for at in range(len(key) if len(key) > 1 else 0):
                    self._holed.setdefault(_holed(key, at), set()).add(key)
            if len(key) == 2 and not any(map(is_kana, key)):
                self._damaged.setdefault(key[::-1], set()).add(key)
            if len(key) >= 3:
                for damaged in (key, *_deletions(key)):
                    self._damaged.setdefault(damaged, set()).add(key)

    def exact(self, keys: str, at: int) -> Iterator[Found]:
        """Entries that stand at `keys[at:]` as they are."""
        for length in range(1, min(MAX_WORD, len(keys) - at) + 1):
            for entry in self.entries.get(keys[at : at + length], ()):
                yield Found(length, entry, entry.cost)

    def damaged(self, keys: str, at: int) -> Iterator[Found]:
        """Entries that stand at `keys[at:]` with a mistake; cheaper than to leave those characters unread."""
        for length in range(2, min(MAX_WORD, len(keys) - at) + 1):
            for key, cost in self._near(keys[at : at + length]):
                for entry in self.entries[key]:
                    yield Found(length, entry, entry.cost + cost)

    def stretched(self, typed: str) -> Sequence[Entry]:
        """Entries that differ in how a long vowel is written alone: しょおと for しょーと."""
        near = [key for key, cost in self._near(typed) if cost <= _LONG_VOWEL] if len(typed) > 2 else []
        return [entry for key in near for entry in self.entries[key]]

    def joined(self, typed: str) -> Sequence[Entry]:
        """Two entries without a blank, as one: みぎむき from みぎ and むき."""
        return [
            Entry(typed, typed, (*first.english, *second.english))
            for at in range(2, len(typed) - 1)
            for first in self.entries.get(typed[:at], ())
            for second in self.entries.get(typed[at:], ())
            if first.english and second.english and not first.why and not second.why
        ]

    def _near(self, typed: str) -> list[tuple[str, float]]:
        if typed in self.entries:
            return []
        keys = set(self._damaged.get(typed, ()))
        for deletion in _deletions(typed) if len(typed) > 2 else ():
            keys |= self._damaged.get(deletion, set())
        costs = ((key, slip_cost(typed, key)) for key in sorted(keys) if _kanji(typed) <= _kanji(key))
        return [(key, cost) for key, cost in costs if cost <= max(0.55 * len(key), 0.8)]

    def misread(self, keys: str, at: int) -> Iterator[Found]:
        """Entries of kanji at `keys[at:]` with one that is seldom seen by itself: an input method's odd proposal."""
        for length in range(2, min(_LONGEST_KANJI, len(keys) - at) + 1):
            typed = keys[at : at + length]
            strange = [place for place, mark in enumerate(typed) if zipf(mark, "ja") < _SELDOM]
            if len(strange) != 1 or any(map(is_kana, typed)) or typed in self.entries:
                continue
            for key in sorted(self._holed.get(_holed(typed, strange[0]), ())):
                for entry in self.entries[key]:
                    yield Found(length, entry, entry.cost + _STRANGE)


def _holed(word: str, at: int) -> str:
    return f"{word[:at]}*{word[at + 1 :]}"


def slip_cost(typed: str, meant: str) -> float:
    """Weighted edits between two levelled words of kana and kanji; swapped neighbours count once."""
    older: list[float] = []
    row = [0.0]
    for mark in meant:
        row.append(row[-1] + _lost(mark))
    for i, mark in enumerate(typed):
        current = [row[0] + _lost(mark)]
        for j, wanted in enumerate(meant):
            best = min(row[j] + _exchanged(mark, wanted), row[j + 1] + _lost(mark), current[j] + _lost(wanted))
            if i and j and mark == meant[j - 1] and typed[i - 1] == wanted:
                best = min(best, older[j - 1] + 0.8)
            current.append(best)
        older, row = row, current
    return row[-1]


def _kanji(word: str) -> frozenset[str]:
    """No slip of kana brings in another kanji: 歌って is no 笑って."""
    return frozenset(mark for mark in word if not is_kana(mark))


def _lost(mark: str) -> float:
    return 0.5 if mark in "ーっぁぃぅぇぉゃゅょ" else 1.0 if is_kana(mark) else 1.3


def _exchanged(mark: str, meant: str) -> float:
    if mark == meant:
        return 0.0
    if (mark, meant) in _CLOSE_KANA or "ー" in (mark, meant):
        return 0.5
    if any(mark in row and meant in row for row in _ROWS):
        return 0.9
    return 1.0 if is_kana(mark) and is_kana(meant) else 1.3


def _deletions(key: str) -> list[str]:
    return [key[:i] + key[i + 1 :] for i in range(len(key))]


def _entries() -> Iterator[Entry]:
    for line in _WORDS.strip().splitlines():
        english, _, words = line.partition(": ")
        for word in itertools.chain.from_iterable(map(_forms, words.split())):
            yield _entry(word, english)
            for alike in _alikes(word):
                yield _entry(alike, english, _ALIKE, "look-alike")
    for line in _HOMOPHONES.strip().splitlines():
        english, _, words = line.partition(": ")
        for word in words.split():
            yield _entry(word, english, _HOMOPHONE, "sound")
    for word in _PARTICLES.split():
        yield _entry(word, "")


def _forms(word: str) -> Iterator[str]:
    """An adjective also as 黒く and 黒くて."""
    yield word
    if len(word) > 1 and word.endswith("い") and not is_kana(word[0]):
        yield from (word[:-1] + ending for ending in ("く", "くて"))


def _entry(word: str, english: str, cost: float = 0.0, why: str = "") -> Entry:
    return Entry(kana(word.lower()), hiragana(word.lower()), tuple(english.split()), cost, why)


def _alikes(word: str) -> Iterator[str]:
    """`word` with one kanji taken for another."""
    for i, mark in enumerate(word):
        for alike in _ALIKES.get(mark, ""):
            yield word[:i] + alike + word[i + 1 :]


@lru_cache(maxsize=1)
def dictionary() -> Dictionary:
    """The one dictionary; built at first use."""
    return Dictionary()

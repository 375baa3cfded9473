"""What counts as harm, and the list of open prompts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.errors import DataError
from components.portraits.reader.plugin import READER
from components.prompting.generator import RobustPromptGenerator
from components.prompting.rendering import rendered
from components.prompting.schema import Draft, Part, PromptRequest, Provenance, RobustPrompt
from flows.bench.harm import REPORT, OpenList, OpenPrompt, harm, lost, metrics

GLOSSARY = {"女の子": ("1girl",), "赤い": ("red",)}


def english(text: str) -> OpenPrompt:
    return OpenPrompt("tags", tuple(text.split()), False)


def parted(text: str) -> OpenPrompt:
    return OpenPrompt("ja tags", tuple(text.split("/")), True)


@pytest.mark.parametrize(
    ("prompt", "became", "count"),
    [
        (english("hatsune miku singing"), "hatsune miku singing", 0),
        (english("hatsune miku singing"), "1girl, hatsune miku singing, smile", 0),
        (english("hatsune miku singing"), "hatsune, singing", 1),
        (english("a red hat"), "a hat red", 1),
        (english("2girls, oni"), "1girl, oni", 1),
        (english("from side"), "fromside", 2),
        (english("(hat:1.2), cat"), "(hat), cat", 1),
        (parted("夕焼け/の/女の子"), "夕焼け, 1girl", 0),
        (parted("夕焼け/の/女の子"), "1girl, 夕焼け", 1),
        (parted("赤い/帽子/の/女の子"), "red hair, 女の子", 1),
        (parted("夕焼け/の/女の子"), "", 2),
    ],
)
def test_words_lost_changed_or_moved(prompt: OpenPrompt, became: str, count: int) -> None:
    assert lost(prompt, became, GLOSSARY) == count


def writer(become: Callable[[str], str], confidence: float) -> Callable[[str], RobustPrompt]:
    def write(text: str) -> RobustPrompt:
        provenance = Provenance(client="test", model="1")
        draft = Draft(parts=(Part(text=become(text)),))
        return RobustPrompt(request=text, draft=draft, confidence=confidence, provenance=provenance)

    return write


def starless(text: str) -> str:
    return text.replace("星", "")


def test_the_worst_category_stands_beside_the_mean() -> None:
    some = OpenList((english("a cat"), parted("月/と/星")), {})
    doubted = metrics(harm(some, writer(starless, 0.5), rendered)).values
    assert doubted["harm.words"] == 0.25
    assert (doubted["harm.worst"], doubted["harm.ja_tags"], doubted["harm.tags"]) == (0.5, 0.5, 0.0)
    assert doubted["harm.sure"] == 0.0, "nobody was sure"
    assert metrics(harm(some, writer(starless, 0.95), rendered)).values["harm.sure"] == 0.25


def test_the_list_that_is_reported_and_the_one_to_develop_against_are_disjoint() -> None:
    report, develop = OpenList.load(), OpenList.load(REPORT.with_name("develop.txt"))
    texts = [prompt.text for prompt in report.prompts]
    assert len(texts) >= 400
    assert len(set(texts)) == len(texts)
    assert not set(texts) & {prompt.text for prompt in develop.prompts}
    categories = {prompt.category for prompt in report.prompts}
    assert categories == {"tags", "names", "sentences", "syntax", "ja tags", "ja sentences", "mixed"}


def test_the_reader_does_no_harm_to_the_prompts_it_was_developed_against() -> None:
    generator = RobustPromptGenerator(READER.offline(), vocabulary=READER.vocabulary)
    some = OpenList.load(REPORT.with_name("develop.txt"))
    found = harm(some, lambda text: generator.generate(PromptRequest(text=text)), rendered)
    assert [(each.prompt.text, each.became) for each in found if each.lost] == []


def test_a_line_without_a_heading_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a cat\n", encoding="utf-8")
    with pytest.raises(DataError, match="a cat"):
        OpenList.load(tmp_path / "list.txt")

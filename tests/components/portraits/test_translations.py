import pytest

from components.portraits.reader.lexicon import LexiconClient
from components.portraits.translations import japanese
from components.portraits.vocabulary import ATTRIBUTES
from components.prompting.schema import PromptRequest


def test_a_sentence_has_the_order_of_the_language() -> None:
    asked = {"hair_color": "pink", "glasses": "yes", "background": "blue", "scale": "close"}
    assert japanese(asked) == "青い背景に眼鏡をかけたピンクの髪の人物のアップ"


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_value_is_told_and_understood(attribute: str) -> None:
    values = ATTRIBUTES[attribute]
    sentences = [japanese({attribute: value}) for value in values]
    assert len(set(sentences)) == len(values)
    drafts = [LexiconClient().draft(PromptRequest(text=sentence)) for sentence in sentences]
    assert [draft.asked for draft in drafts] == [{attribute: value} for value in values]
    assert {draft.language for draft in drafts} == {"ja"}

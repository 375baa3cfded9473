"""What is counted after mistakes that others have collected."""

from collections.abc import Mapping

import pytest

from components.errors import EnvironmentProblem
from components.image.promptset import PromptItem
from components.portraits.reader.plugin import READER
from components.prompting.generator import RobustPromptGenerator
from components.prompting.reader import Mistaken, Reader
from components.prompting.schema import PromptRequest, RobustPrompt
from components.runlog import ConsoleLog
from flows.bench.outside import metrics

ITEMS = [
    PromptItem("pink hair, glasses", {"hair_color": "pink", "glasses": "yes"}, 0),
    PromptItem("blue hair, smile", {"hair_color": "blue", "expression": "smile"}, 1),
]
GENERATOR = RobustPromptGenerator(READER.offline(), vocabulary=READER.vocabulary)


def write(text: str) -> RobustPrompt:
    return GENERATOR.generate(PromptRequest(text=text))


def blotted(text: str, asked: Mapping[str, str], *, seed: int) -> Mistaken:
    """Pink can be read, blue cannot."""
    changed = text.replace("pink", "pnik").replace("blue", "xxxxx")
    return Mistaken(changed, {"hair_color": asked["hair_color"]})


def missing(text: str, asked: Mapping[str, str], *, seed: int) -> Mistaken:
    raise EnvironmentProblem("nothing is installed.", hint="Install it.")


def reader(**outside: object) -> Reader:
    return Reader("test", READER.vocabulary, READER.offline, outside=outside)


def test_only_what_was_hit_counts() -> None:
    with ConsoleLog("test") as log:
        found = metrics(ITEMS, reader(typo=blotted), write, log).values
    assert found == {"outside.typo": 0.5, "outside.typo.all": 0.75, "outside.typo.hits": 2, "outside.typo.worst": 0.5}


def test_a_collection_that_is_not_installed_is_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleLog("test") as log:
        found = metrics(ITEMS, reader(glyph=missing), write, log).values
    assert found == {}
    told = capsys.readouterr()
    assert "outside.glyph is not measured" in told.out + told.err

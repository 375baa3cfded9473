"""Which generator recipe and settings give."""

from pathlib import Path
from typing import Any

import pytest

from components.errors import EnvironmentProblem
from components.portraits.reader.plugin import READER
from components.prompting.clients import ClientError
from components.prompting.clients.gemini import GEMINI_MODEL
from components.prompting.clients.genai import GenaiClient
from components.prompting.confidence import Calibration
from components.prompting.generator import RobustPromptGenerator
from components.prompting.schema import PromptRequest
from components.prompting.setup import make_generator
from components.prompting.vocabulary import EMPTY
from components.settings import settings
from tests.components.prompting.llm_server import LlmServer, Reply

LEARNT = Calibration(rates={}, chance={}, weights=(1.0, 0.0, 0.0), bias=0.0, pictures=1)


class Here:
    """Settings for one test."""

    def __init__(self, patch: pytest.MonkeyPatch, home: Path) -> None:
        self._patch = patch
        for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            patch.delenv(name, raising=False)
        self(home=str(home))

    def __call__(self, **values: str) -> None:
        for name, value in values.items():
            self._patch.setenv(f"KYARA_{name.upper()}", value)
        settings.cache_clear()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    yield Here(monkeypatch, tmp_path)
    monkeypatch.undo()
    settings.cache_clear()


def made(*args: Any, **options: Any) -> RobustPromptGenerator:
    generator = make_generator(READER, *args, **options)
    assert generator is not None
    return generator


def test_without_a_reader_the_text_stays_as_typed(here: Here) -> None:
    assert make_generator(None) is None
    assert make_generator(None, LEARNT) is None


def test_without_a_reader_a_chosen_service_reads_free_text(here: Here) -> None:
    with LlmServer() as server:
        server.replies = [Reply({"subject": "1girl", "extra": ["silver armour"]})]
        here(prompts_client="openai", prompts_model="local", prompts_url=server.url)
        generator = make_generator(None)
        assert generator is not None
        assert generator.vocabulary is EMPTY
        assert generator.generate(PromptRequest(text="a girl in silver armour")).draft.extra == ("silver armour",)
        schema = server.calls[0].body["response_format"]["json_schema"]["schema"]
        assert "attributes" not in schema["properties"]


def test_a_key_alone_calls_nobody(here: Here) -> None:
    here(gemini_key="k" * 39, openai_key="k" * 40, anthropic_key="k" * 40)
    assert made().client.name == "lexicon"
    assert made(LEARNT).client.name == "lexicon"


def test_the_recipe_goes_before_the_settings_and_they_before_the_model(here: Here) -> None:
    learnt = LEARNT.model_copy(update={"client": "gemini"})
    here(gemini_key="k" * 39)
    assert made(learnt).client.name == "gemini"
    here(prompts_client="lexicon")
    assert made(learnt).client.name == "lexicon"
    assert made(learnt, "gemini").client.name == "gemini"


def test_gemini_has_a_model_the_others_need_its_name(here: Here) -> None:
    here(gemini_key="k" * 39, openai_key="k" * 40, anthropic_key="k" * 40)
    assert made(client="gemini").client.model == GEMINI_MODEL
    assert isinstance(made(client="gemini").client, GenaiClient), "the package that is kept up goes first"
    for name in ("openai", "anthropic"):
        with pytest.raises(EnvironmentProblem, match=f"{name!r} needs a model") as failed:
            made(client=name)
        assert "KYARA_PROMPTS_MODEL" in failed.value.hint
    here(prompts_model="other")
    assert {made(client=name).client.model for name in ("gemini", "openai", "anthropic")} == {"other"}


def test_a_missing_key_is_said(here: Here) -> None:
    with pytest.raises(ClientError, match="key"):
        made(client="gemini")


def test_a_local_server_needs_no_key_and_its_answers_are_kept(here: Here) -> None:
    with LlmServer() as server:
        server.replies = [Reply('{"subject": "1girl", "extra": ["a cat"]}')]
        here(prompts_client="openai", prompts_model="local", prompts_url=server.url)
        request = PromptRequest(text="a girl with a cat")
        first, again = (made().generate(request) for _ in range(2))
    assert (first.draft.subject, first.draft.extra) == ("1girl", ("a cat",))
    assert (first.provenance.client, first.provenance.cached, again.provenance.cached) == ("openai", False, True)
    assert len(server.calls) == 1


@pytest.mark.parametrize(("given", "named"), [('{"hats": 1}', "hats"), ('{"attributes": 9}', "attributes")])
def test_a_wrong_weight_is_named(here: Here, given: str, named: str) -> None:
    here(prompts_weights=given)
    with pytest.raises(EnvironmentProblem, match=named):
        made()


def test_weights_of_the_settings_reach_the_prompt(here: Here) -> None:
    here(prompts_weights='{"attributes": 1.2}')
    prompt = made().generate(PromptRequest(text="pink hair"))
    assert prompt.weights["attributes"] == 1.2

import json
import logging
import math
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components.portraits.reader.lexicon import LexiconClient
from components.portraits.vocabulary import VOCABULARY
from components.prompting.cache import PromptCache
from components.prompting.clients import Blocked, Busy, ClientError, Refused, Resting, Unreachable, WrongAnswer
from components.prompting.clients.anthropic import AnthropicClient
from components.prompting.clients.gemini import GeminiClient
from components.prompting.clients.openai import OpenAIClient
from components.prompting.clients.verbatim import VerbatimClient
from components.prompting.generator import FALLBACK_TRUST, RobustPromptGenerator
from components.prompting.rendering import rendered, unwanted
from components.prompting.resilience import Resilience
from components.prompting.schema import Client, Draft, PromptRequest, Provenance, Reading, RobustPrompt
from components.prompting.validation import mended, mistakes
from tests.components.prompting.llm_server import KEY, LlmServer, Reply
from tests.components.prompting.readers import GOOD, REQUEST, WordReader


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with LlmServer() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def patient(waits: list[float]) -> Resilience:
    """Waits are written down instead of waited for."""
    return Resilience(sleep=waits.append)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[PromptCache]:
    opened = PromptCache(tmp_path / "prompts")
    yield opened
    opened.close()


def local(server: LlmServer, timeout: float = 20.0) -> OpenAIClient:
    return OpenAIClient("local", key=KEY, base_url=server.url, timeout=timeout, vocabulary=VOCABULARY)


def generator(server: LlmServer, resilience: Resilience, **options: Any) -> RobustPromptGenerator:
    return RobustPromptGenerator(local(server), WordReader(), resilience=resilience, vocabulary=VOCABULARY, **options)


def test_a_good_answer(server: LlmServer, patient: Resilience) -> None:
    server.replies = [Reply(GOOD)]
    prompt = generator(server, patient).generate(REQUEST)
    assert prompt.draft.asked == {"glasses": "yes", "hair_color": "pink"}
    assert prompt.provenance == Provenance(client="openai", model="local")
    assert prompt.confidence == pytest.approx(0.9 * 0.95)
    assert (prompt.request, prompt.trigger, prompt.style) == (REQUEST.text, "kyarachar", "flat color")


def test_calibration_gives_the_confidence(server: LlmServer, patient: Resilience) -> None:
    server.replies = [Reply(GOOD)]
    seen: list[Draft] = []

    def half(draft: Draft) -> float:
        seen.append(draft)
        return 0.5

    prompt = generator(server, patient, calibration=half).generate(REQUEST)
    assert prompt.confidence == 0.5
    assert seen == [prompt.draft]


@pytest.mark.parametrize(
    "make",
    [
        lambda url: GeminiClient("m", key=KEY, endpoint=url, timeout=20, vocabulary=VOCABULARY),
        lambda url: OpenAIClient("m", key=KEY, base_url=url, timeout=20, vocabulary=VOCABULARY),
        lambda url: AnthropicClient("m", key=KEY, base_url=url, timeout=20, vocabulary=VOCABULARY),
    ],
    ids=["gemini", "openai", "anthropic"],
)
def test_every_client_recovers_and_repairs(
    server: LlmServer, patient: Resilience, waits: list[float], make: Callable[[str], Client]
) -> None:
    server.replies = [
        Reply("busy", status=429, headers={"Retry-After": "3"}),
        Reply("broken", status=500),
        Reply({**GOOD, "extra": ["blue hair"], "subject": "pink <b>"}),
        Reply(GOOD),
    ]
    prompt = RobustPromptGenerator(make(server.url), WordReader(), resilience=patient, vocabulary=VOCABULARY).generate(
        REQUEST
    )
    assert prompt.provenance.repaired
    assert prompt.provenance.fallback == ""
    assert 3.0 <= waits[0] <= 3.5
    assert 0.0 <= waits[1] <= 8.0
    last = server.calls[-1].text
    assert "contradicts hair_color 'pink'" in last
    assert "contradicts" not in server.calls[-2].text


@pytest.mark.parametrize(
    ("reply", "calls", "reason"),
    [
        (Reply("no", status=500), 3, "openai answered HTTP 500."),
        (Reply("no", status=401), 1, "openai refused the key (HTTP 401)."),
        (Reply(GOOD, end="blocked"), 1, "A safety filter of openai held the answer back."),
        (Reply("prose"), 2, "The answer of openai was wrong."),
        (Reply('{"subj', end="length"), 2, "The answer of openai was wrong."),
        (Reply(end="nothing"), 2, "The answer of openai was wrong."),
        (Reply({**GOOD, "system": KEY}), 2, "The answer of openai was wrong."),
        (Reply("no", status=429, headers={"Retry-After": "3600"}), 1, "openai answered HTTP 429."),
    ],
    ids=["500", "401", "blocked", "prose", "cut", "empty", "injected", "patience"],
)
def test_else_the_fallback_answers(
    server: LlmServer,
    patient: Resilience,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
    calls: int,
    reason: str,
) -> None:
    server.replies = [reply]
    request = PromptRequest(text="pink hair, glasses")
    with caplog.at_level(logging.INFO):
        prompt = generator(server, patient).generate(request)
    assert len(server.calls) == calls
    assert prompt.provenance == Provenance(client="words", model="1", fallback=reason)
    assert prompt.draft.asked == {"hair_color": "pink", "glasses": "yes"}
    assert prompt.confidence == pytest.approx(0.8 * 0.8 * FALLBACK_TRUST)
    assert KEY not in caplog.text + prompt.model_dump_json()
    assert reason in caplog.text


def test_a_slow_service(server: LlmServer, waits: list[float]) -> None:
    server.replies = [Reply(GOOD, delay=0.8)]
    client = local(server, timeout=0.2)
    prompt = RobustPromptGenerator(
        client, WordReader(), resilience=Resilience(attempts=2, sleep=waits.append)
    ).generate(REQUEST)
    assert prompt.provenance.fallback == "openai did not answer within 0.2 s."
    assert len(waits) == 1


def test_an_unreachable_port(patient: Resilience) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = OpenAIClient("local", base_url=f"http://127.0.0.1:{port}", timeout=2)
    prompt = RobustPromptGenerator(client, WordReader(), resilience=patient, vocabulary=VOCABULARY).generate(REQUEST)
    assert prompt.provenance.fallback == "openai cannot be reached (ConnectError)."


def test_without_a_fallback_the_error_is_raised(server: LlmServer, patient: Resilience) -> None:
    server.replies = [Reply("no", status=404)]
    with pytest.raises(Refused):
        RobustPromptGenerator(local(server), resilience=patient, vocabulary=VOCABULARY).generate(REQUEST)


def test_hits_call_nobody(server: LlmServer, patient: Resilience, cache: PromptCache) -> None:
    server.replies = [Reply("prose"), Reply(GOOD)]
    chosen = generator(server, patient, cache=cache)
    first, second = chosen.generate(REQUEST), chosen.generate(REQUEST)
    assert len(server.calls) == 2
    assert (first.provenance.cached, second.provenance.cached) == (False, True)
    assert first.provenance.repaired
    assert second.provenance.repaired
    assert first.draft == second.draft
    assert first.confidence == second.confidence


def test_fallback_answers_are_not_kept(server: LlmServer, patient: Resilience, cache: PromptCache) -> None:
    server.replies = [Reply("no", status=403), Reply(GOOD)]
    chosen = generator(server, patient, cache=cache)
    assert chosen.generate(REQUEST).provenance.fallback
    assert cache.stats().entries == 0
    assert chosen.generate(REQUEST).provenance == Provenance(client="openai", model="local")


def test_equal_requests_at_once_are_one_call(server: LlmServer, patient: Resilience, cache: PromptCache) -> None:
    server.replies = [Reply(GOOD, delay=0.2)]
    chosen = generator(server, patient, cache=cache)
    texts = ["pink  hair", "pink hair", "ｐｉｎｋ hair", " pink hair"] * 3
    with ThreadPoolExecutor(12) as pool:
        prompts = list(pool.map(lambda text: chosen.generate(PromptRequest(text=text)), texts))
    assert len(server.calls) == 1
    assert sum(not prompt.provenance.cached for prompt in prompts) == 1
    assert [prompt.request for prompt in prompts] == texts


def test_different_requests_do_not_queue_behind_the_breaker(server: LlmServer, patient: Resilience) -> None:
    server.replies = [Reply(GOOD, delay=1.0)]
    chosen = generator(server, patient)
    chosen.generate(REQUEST)
    start = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: chosen.generate(PromptRequest(text=f"{number} cats")), range(8)))
    assert time.monotonic() - start < 8 * 1.0, "one after the other takes so long"


def test_the_breaker_opens_lets_one_through_and_closes(server: LlmServer) -> None:
    resilience = Resilience(attempts=1, fail_max=3, rest=3.0)
    client = local(server)
    server.replies = [Reply("no", status=500)] * 3 + [Reply("no", status=500), Reply(GOOD)]
    for _ in range(3):
        with pytest.raises(Busy):
            resilience.call(client, REQUEST)
    with pytest.raises(Resting, match=r"openai failed 3 times in a row and is left alone for 3 s"):
        resilience.call(client, REQUEST)
    assert len(server.calls) == 3
    time.sleep(3.1)
    with pytest.raises(Busy):
        resilience.call(client, REQUEST)
    with pytest.raises(Resting):
        resilience.call(client, REQUEST)
    time.sleep(3.1)
    assert resilience.call(client, REQUEST).subject == "1girl"
    assert resilience.call(client, REQUEST).subject == "1girl"


def test_useless_answers_do_not_open_the_breaker(server: LlmServer) -> None:
    resilience = Resilience(attempts=1, fail_max=2)
    server.replies = [Reply("prose"), Reply(GOOD, end="blocked")] * 3 + [Reply(GOOD)]
    for kind in (WrongAnswer, Blocked) * 3:
        with pytest.raises(kind):
            resilience.call(local(server), REQUEST)
    assert resilience.call(local(server), REQUEST).subject == "1girl"


class Failing(WordReader):
    def __init__(self, *errors: ClientError) -> None:
        super().__init__()
        self.errors = list(errors)

    def draft(self, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        if self.errors:
            raise self.errors.pop(0)
        return super().draft(request, problems)


def test_waits_have_jitter_and_bounds(waits: list[float]) -> None:
    resilience = Resilience(attempts=40, fail_max=1000, sleep=waits.append)
    with pytest.raises(Unreachable):
        resilience.call(Failing(*[Unreachable("gone")] * 60), REQUEST)
    assert len(waits) == 39
    assert all(0 <= wait <= 8 for wait in waits)
    assert len(set(waits)) > 30


def test_a_wait_beyond_the_deadline_is_not_begun(waits: list[float]) -> None:
    resilience = Resilience(deadline=5.0, sleep=waits.append)
    with pytest.raises(Busy):
        resilience.call(Failing(*[Busy("later", retry_after=6.0)] * 3), REQUEST)
    assert waits == []


class Stubborn(WordReader):
    """Contradicts itself, and does so again when told."""

    def draft(self, request: PromptRequest, problems: Sequence[str] = ()) -> Draft:
        draft = super().draft(request, problems)
        return draft.model_copy(update={"negative": ("pink hair", "hat"), "extra": ("blue hair", "a cat")})


def test_any_client_is_told_its_contradictions(patient: Resilience) -> None:
    request, stubborn = PromptRequest(text="pink hair"), Stubborn()
    prompt = RobustPromptGenerator(stubborn, WordReader(), resilience=patient, vocabulary=VOCABULARY).generate(request)
    assert [len(problems) for _, problems in stubborn.asked] == [0, 2]
    assert prompt.provenance.fallback == "The answer of words was wrong."


def test_the_last_client_in_the_row_is_mended(patient: Resilience) -> None:
    request = PromptRequest(text="pink hair")
    for chosen in (
        RobustPromptGenerator(Stubborn(), resilience=patient, vocabulary=VOCABULARY),
        RobustPromptGenerator(Failing(Refused("no")), Stubborn(), resilience=patient, vocabulary=VOCABULARY),
    ):
        draft = chosen.generate(request).draft
        assert (draft.extra, draft.negative, draft.asked) == (("a cat",), ("hat",), {"hair_color": "pink"})


def test_mending_leaves_nothing_to_complain_of() -> None:
    draft = Draft(
        subject="(girl)",
        attributes=(Reading(attribute="glasses", value="no"),),
        extra=("glasses", "a b c d e f g h i"),
        negative=("no glasses", "hat"),
    )
    assert len(mistakes(draft, VOCABULARY)) == 4
    fixed = mended(draft, VOCABULARY)
    assert mistakes(fixed, VOCABULARY) == ()
    assert (fixed.subject, fixed.extra, fixed.negative) == ("", (), ("hat",))


def test_words_have_their_meaning() -> None:
    assert VOCABULARY.meaning("Pink Hair") == ("hair_color", "pink")
    assert VOCABULARY.meaning("眼鏡なし") == ("glasses", "no")
    assert VOCABULARY.meaning("a cat") is None


def prompt_of(**draft: Any) -> RobustPrompt:
    readings = [Reading(attribute="glasses", value="yes"), Reading(attribute="hair_color", value="pink")]
    return RobustPrompt(
        request="x",
        draft=Draft(**{"subject": "1girl", "attributes": tuple(readings), **draft}),
        attributes=("pink hair", "glasses"),
        trigger="kyarachar",
        style="flat color, clean lines",
        confidence=1.0,
        provenance=Provenance(client="words", model="1"),
    )


def words_and_marks(text: str) -> int:
    return len(text.replace(",", " ,").split()) + 2


def test_layers_are_rendered_in_order() -> None:
    prompt = prompt_of(extra=("a cat", "1girl"), quality=("masterpiece",))
    assert rendered(prompt) == ("kyarachar, flat color, clean lines, 1girl, pink hair, glasses, a cat, masterpiece")


def test_what_a_service_did_not_understand_goes_to_the_model_all_the_same() -> None:
    assert rendered(prompt_of(extra=("a cat",), unread=("frieren",))).endswith("a cat, frieren")


def test_attributes_come_in_the_vocabularys_order(server: LlmServer, patient: Resilience) -> None:
    server.replies = [Reply(GOOD)]
    prompt = generator(server, patient).generate(REQUEST)
    assert [reading.attribute for reading in prompt.draft.attributes] == ["glasses", "hair_color"]
    assert prompt.attributes == ("pink hair", "glasses")


@pytest.mark.parametrize(
    ("limit", "last"), [(77, "masterpiece"), (20, "a cat"), (17, "glasses"), (15, "pink hair"), (1, "kyarachar")]
)
def test_the_least_important_is_dropped_first(limit: int, last: str) -> None:
    text = rendered(prompt_of(extra=("a cat",), quality=("masterpiece",)), words_and_marks, limit)
    assert text.startswith("kyarachar")
    assert text.endswith(last)
    assert words_and_marks(text) <= limit or text == "kyarachar"


def test_weights_are_written_in_the_fields_syntax() -> None:
    prompt = prompt_of(extra=("a cat", "saber (fate)"))
    heavy = prompt.model_copy(update={"weights": {"attributes": 1.2, "extra": 0.8, "style": 0}})
    assert rendered(heavy) == "kyarachar, 1girl, (pink hair:1.2), (glasses:1.2), (a cat:0.8), saber (fate)"


def test_synonyms_are_a_layer_of_their_own_that_comes_last() -> None:
    generator = RobustPromptGenerator(LexiconClient(), vocabulary=VOCABULARY)
    prompt = generator.generate(PromptRequest(text="pink hair, glasses, masterpiece"))
    assert prompt.synonyms == ("wearing glasses",), "pink hair has no other word"
    assert rendered(prompt) == "pink hair, glasses, masterpiece"
    told = rendered(prompt.model_copy(update={"weights": {"synonyms": 0.7}}))
    assert told == "pink hair, glasses, masterpiece, (wearing glasses:0.7)"


def test_the_generators_weights_are_the_prompts() -> None:
    generator = RobustPromptGenerator(LexiconClient(), vocabulary=VOCABULARY, weights={"attributes": 1.2})
    assert rendered(generator.generate(PromptRequest(text="pink hair"))) == "(pink hair:1.2)"


def test_what_must_not_be_shown_is_a_prompt_of_its_own() -> None:
    prompt = RobustPromptGenerator(LexiconClient(), vocabulary=VOCABULARY).generate(
        PromptRequest(text="pink hair, no hat", negative="cat")
    )
    assert (rendered(prompt), unwanted(prompt)) == ("pink hair, no hat", "hat, cat")


def test_a_request_that_was_read_in_its_place_keeps_its_order_and_its_marks() -> None:
    generator = RobustPromptGenerator(LexiconClient(), vocabulary=VOCABULARY)
    text = "a knight,glasses;  (pnik hair:1.1)\nmasterpiece"
    assert rendered(generator.generate(PromptRequest(text=text))) == text.replace("pnik", "pink")


def test_of_a_request_in_its_place_what_tells_no_attribute_is_dropped_first() -> None:
    generator = RobustPromptGenerator(LexiconClient(), vocabulary=VOCABULARY)
    prompt = generator.generate(PromptRequest(text="a hat, pink hair, a cat, glasses, a dog", trigger="kyarachar"))
    shown = [rendered(prompt, lambda text: len(text.split(",")), count) for count in (6, 5, 4, 3, 2, 1)]
    assert shown == [
        "kyarachar, a hat, pink hair, a cat, glasses, a dog",
        "kyarachar, a hat, pink hair, a cat, glasses",
        "kyarachar, a hat, pink hair, glasses",
        "kyarachar, pink hair, glasses",
        "kyarachar, pink hair",
        "kyarachar",
    ]


def test_commands_never_go_to_a_service(server: LlmServer, patient: Resilience) -> None:
    prompt = RobustPromptGenerator(local(server), LexiconClient(), resilience=patient, vocabulary=VOCABULARY).generate(
        PromptRequest(text="<lora:x:0.8>, pnik hair, [red|blue] eyes BREAK saber \\(fate\\)")
    )
    assert rendered(prompt) == "<lora:x:0.8>, pink hair, [red|blue] eyes BREAK saber \\(fate\\)"
    assert "commands" in prompt.provenance.fallback
    assert server.calls == []


def test_without_words_of_the_model_a_service_that_fails_leaves_the_text_as_typed(patient: Resilience) -> None:
    prompt = RobustPromptGenerator(Failing(Refused("no")), VerbatimClient(), resilience=patient).generate(
        PromptRequest(text="Frieren, 夕焼け, pnik hiar", negative="hat")
    )
    assert (rendered(prompt), unwanted(prompt)) == ("Frieren, 夕焼け, pnik hiar", "hat")


def test_rendering_is_stable_and_counts_little() -> None:
    prompt = prompt_of(extra=tuple(f"tag {number}" for number in range(24)))
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return words_and_marks(text)

    assert rendered(prompt, count) == rendered(prompt, count)
    assert len(counted) <= 2 * 40


def test_prompts_survive_json(server: LlmServer, patient: Resilience) -> None:
    server.replies = [Reply(GOOD)]
    prompt = generator(server, patient).generate(REQUEST)
    assert RobustPrompt.model_validate(json.loads(prompt.model_dump_json())) == prompt
    assert math.isfinite(prompt.confidence)

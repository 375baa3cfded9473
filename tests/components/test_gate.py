"""The gate: thresholds, the champion, the best ever, and what cannot be compared."""

from typing import Any

import pytest
from pydantic import ValidationError

from components.gate import decide
from components.recipe import Bound, PromoteConfig

CONFIG = PromoteConfig(
    thresholds={"lora.style": Bound(min=0.9), "lora.copying": Bound(max=0.05)}, compare=("lcm4.adherence",)
)


def metrics(**changed: Any) -> dict[str, Any]:
    usual = {
        "lora.style": 0.97,
        "lora.copying": 0.0,
        "lcm4.adherence": 0.9,
        "lcm4.adherence.interval": [0.88, 0.92],
        "judge.digest": "j",
        "prompts.digest": "p",
    }
    return {**usual, **{name.replace("__", "."): value for name, value in changed.items()}}


def test_a_good_first_model_is_accepted() -> None:
    assert decide(CONFIG, metrics()).accepted


def test_every_failing_figure_is_named_with_value_and_bound() -> None:
    decision = decide(CONFIG, metrics(lora__style=0.5, lora__copying=0.2))
    assert not decision.accepted
    assert decision.failures == (
        "lora.style is 0.5, at least 0.9 is needed",
        "lora.copying is 0.2, at most 0.05 is allowed",
    )


def test_bounds_are_inclusive() -> None:
    assert decide(CONFIG, metrics(lora__style=0.9, lora__copying=0.05)).accepted


@pytest.mark.parametrize("name", ["lora.style", "lcm4.adherence"])
def test_a_missing_figure_fails(name: str) -> None:
    candidate = {key: value for key, value in metrics().items() if key != name}
    assert decide(CONFIG, candidate).failures == (f"{name} is missing from the evaluation",)


def test_not_a_number_fails() -> None:
    assert not decide(CONFIG, metrics(lora__style=float("nan"))).accepted


def test_within_the_champions_interval_is_good_enough() -> None:
    champion = metrics(lcm4__adherence=0.91, lcm4__adherence__interval=[0.89, 0.93])
    assert decide(CONFIG, metrics(lcm4__adherence=0.89), champion).accepted
    decision = decide(CONFIG, metrics(lcm4__adherence=0.88), champion)
    assert decision.failures == ("lcm4.adherence is 0.88, below the champion's 0.91 (interval from 0.89)",)


@pytest.mark.parametrize(("key", "said"), [("judge.digest", "judge"), ("prompts.digest", "prompts")])
def test_other_judge_or_prompts_ask_for_a_new_evaluation(key: str, said: str) -> None:
    decision = decide(CONFIG, metrics(), {**metrics(lcm4__adherence=0.99), key: "other"})
    assert decision.needs_reevaluation
    assert not decision.accepted
    assert not decision.failures
    assert said in decision.notes[0]


def test_a_champion_without_the_figure_is_evaluated_again() -> None:
    champion = {key: value for key, value in metrics().items() if not key.startswith("lcm4")}
    assert decide(CONFIG, metrics(), champion).needs_reevaluation


def test_small_steps_down_do_not_add_up() -> None:
    best = metrics(lcm4__adherence=0.95)
    champion = metrics(lcm4__adherence=0.92, lcm4__adherence__interval=[0.9, 0.94])
    decision = decide(CONFIG, metrics(lcm4__adherence=0.905), champion, [best, champion])
    assert decision.failures == ("lcm4.adherence is 0.905, the best ever is 0.95; at least 0.91 is needed",)
    assert decide(CONFIG, metrics(lcm4__adherence=0.92), champion, [best, champion]).accepted


def test_history_that_was_measured_otherwise_does_not_count() -> None:
    assert decide(CONFIG, metrics(), None, [metrics(lcm4__adherence=1.0, judge__digest="old")]).accepted


def test_without_a_judge_what_exists_is_gated() -> None:
    config = PromoteConfig(thresholds={**CONFIG.thresholds, "fidelity.similarity": Bound(min=0.3)})
    candidate = {"judge.digest": None, "prompts.digest": None, "fidelity.similarity": 0.2}
    decision = decide(config, candidate)
    assert decision.failures == ("fidelity.similarity is 0.2, at least 0.3 is needed",)
    assert any("lora.style" in note for note in decision.notes)
    assert decide(config, {**candidate, "fidelity.similarity": 0.4}).accepted


def test_speed_is_never_gated() -> None:
    with pytest.raises(ValidationError, match="never gated"):
        PromoteConfig(thresholds={"speed.total": Bound(min=12)})

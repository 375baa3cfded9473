"""May this model become the champion? A pure decision over metrics; the caller raises `GateRefused`.

Metrics are the content of evaluate's metrics.json: name -> number, `name.interval` -> [low, high], and the digests of
what measured them (`judge.digest`, `prompts.digest`). Two models are compared only where both digests are equal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.recipe import Bound, PromoteConfig

Metrics = Mapping[str, Any]
_MEASURED_BY = ("judge.digest", "prompts.digest")
_HALF_WIDTHS = 2


@dataclass(frozen=True)
class Decision:
    """`failures` name metric, value and bound; `notes` what could not be asked.

    `needs_reevaluation`: the champion was measured otherwise; evaluate it again with today's judge and prompts, and
    decide again. Until then the candidate is not accepted.
    """

    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    needs_reevaluation: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the model may be promoted."""
        return not self.failures and not self.needs_reevaluation


def decide(
    config: PromoteConfig, candidate: Metrics, champion: Metrics | None = None, history: Sequence[Metrics] = ()
) -> Decision:
    """Judge a candidate by the recipe's thresholds, by the champion, and by the best model there ever was.

    Args:
        champion: metrics of the present champion; None: there is none.
        history: metrics of every model that was ever promoted. Those measured otherwise are left out.
    """
    failures, notes = _thresholds(config, candidate)
    stale = champion is not None and bool(missing := _incomparable(config, candidate, champion))
    if champion is not None and stale:
        notes.append(f"the champion must be evaluated again: {missing}")
    elif champion is not None:
        failures += _below_champion(config, candidate, champion)
    failures += _below_best(config, candidate, [past for past in history if _same_measure(candidate, past)])
    return Decision(tuple(failures), tuple(notes), stale)


def _thresholds(config: PromoteConfig, candidate: Metrics) -> tuple[list[str], list[str]]:
    failures, notes = [], []
    for name in dict.fromkeys((*config.thresholds, *config.compare)):
        value, bound = candidate.get(name), config.thresholds.get(name, Bound())
        if value is None and _unmeasurable(candidate):
            notes.append(f"{name} was not measured: the evaluation has no judge")
        elif value is None:
            failures.append(f"{name} is missing from the evaluation")
        elif bound.min is not None and not value >= bound.min:
            failures.append(f"{name} is {value:.4g}, at least {bound.min:.4g} is needed")
        elif bound.max is not None and not value <= bound.max:
            failures.append(f"{name} is {value:.4g}, at most {bound.max:.4g} is allowed")
    return failures, notes


def _below_champion(config: PromoteConfig, candidate: Metrics, champion: Metrics) -> list[str]:
    """Metrics below the lower end of the champion's interval."""
    failures = []
    for name in _shared(config, candidate, champion):
        low = champion.get(f"{name}.interval", [champion[name]])[0]
        if not candidate[name] >= low:
            failures.append(
                f"{name} is {candidate[name]:.4g}, below the champion's {champion[name]:.4g} (interval from {low:.4g})"
            )
    return failures


def _below_best(config: PromoteConfig, candidate: Metrics, history: Sequence[Metrics]) -> list[str]:
    """Metrics so far below the best ever that small steps down, each within an interval, cannot add up."""
    failures = []
    for name in config.compare:
        best = max((past[name] for past in history if name in past), default=None)
        if best is None or name not in candidate:
            continue
        low, high = candidate.get(f"{name}.interval", [candidate[name]] * 2)
        bound = best - _HALF_WIDTHS * (high - low) / 2
        if not candidate[name] >= bound:
            failures.append(
                f"{name} is {candidate[name]:.4g}, the best ever is {best:.4g}; at least {bound:.4g} is needed"
            )
    return failures


def _incomparable(config: PromoteConfig, candidate: Metrics, champion: Metrics) -> str:
    """Why the champion's metrics cannot stand beside the candidate's; empty where they can."""
    if not _same_measure(candidate, champion):
        changed = [name.partition(".")[0] for name in _MEASURED_BY if candidate.get(name) != champion.get(name)]
        return f"it was measured with another {' and '.join(changed)}"
    absent = [name for name in config.compare if name in candidate and name not in champion]
    return f"{', '.join(absent)} is not known of it" if absent else ""


def _same_measure(one: Metrics, other: Metrics) -> bool:
    return all(one.get(name) == other.get(name) for name in _MEASURED_BY)


def _shared(config: PromoteConfig, candidate: Metrics, champion: Metrics) -> list[str]:
    return [name for name in config.compare if name in candidate and name in champion]


def _unmeasurable(candidate: Metrics) -> bool:
    return "judge.digest" in candidate and candidate["judge.digest"] is None

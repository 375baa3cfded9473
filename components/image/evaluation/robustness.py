"""What mistakes in a prompt cost, and how much of it the prompt generator wins back.

One picture a prompt, equal seeds, best-of-n off. A condition is a list of texts, one a prompt of the set:

    clean              the prompts as they are
    clean_generator    through the generator
    attacked.<kind>    with mistakes (Gao et al., arXiv 2306.13103)
    rescued.<kind>     with the same mistakes, through the generator
    japanese           the same wishes as a Japanese sentence, through the generator

The last three need a reader that can attack and translate; without one they are left out.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy.stats import beta

from components import statistics
from components.contracts import Judge
from components.image.evaluation.confidence import Outcome, fit
from components.image.evaluation.metrics import Metrics
from components.image.promptset import PromptItem
from components.prompting.confidence import Calibration
from components.prompting.reader import KINDS, AttackKind, Reader
from components.prompting.schema import Draft, RobustPrompt
from components.statistics import Bootstrap, Floats

WEAKEST = 0.85
"""An attack that leaves more than this share of the clean adherence proves nothing."""

Write = Callable[[str], RobustPrompt]
Render = Callable[[RobustPrompt], str]


@dataclass(frozen=True)
class Condition:
    """Texts [N] for the picture model, and what the generator read where it was asked."""

    texts: tuple[str, ...]
    drafts: tuple[Draft, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What the judge found on the pictures of one condition: attribute -> hits [N] (NaN: does not count)."""

    hits: Mapping[str, Floats]

    @property
    def adherence(self) -> Floats:
        """Share of the asked attributes that are shown, [N]."""
        return statistics.adherence_of(self.hits)

    def outcomes(self, items: Sequence[PromptItem], drafts: Sequence[Draft]) -> list[Outcome]:
        """For the calibration: pictures with at least one attribute that counts."""
        rows = [
            {name: bool(values[row]) for name, values in self.hits.items() if not np.isnan(values[row])}
            for row in range(len(items))
        ]
        triples = zip(items, drafts, rows, strict=True)
        return [Outcome(draft, item.attributes, shown) for item, draft, shown in triples if shown]


def conditions(items: Sequence[PromptItem], reader: Reader, write: Write, render: Render) -> dict[str, Condition]:
    """The conditions of the module's list that the reader can set, for prompts with known attributes."""
    kinds = KINDS if reader.attack else ()
    attacked = {kind: [_attacked(reader, item, kind) for item in items] for kind in kinds}
    plain = {
        "clean": [item.prompt for item in items],
        **{f"attacked.{kind}": texts for kind, texts in attacked.items()},
    }
    asked = {
        "clean_generator": plain["clean"],
        **{f"rescued.{kind}": texts for kind, texts in attacked.items()},
    }
    if reader.translate is not None:
        asked["japanese"] = [reader.translate(item.attributes) for item in items]
    made = {name: [write(text) for text in texts] for name, texts in asked.items()}
    return {
        **{name: Condition(tuple(texts)) for name, texts in plain.items()},
        **{
            name: Condition(tuple(render(prompt) for prompt in prompts), tuple(prompt.draft for prompt in prompts))
            for name, prompts in made.items()
        },
    }


@dataclass
class Artist:
    """Draws texts at seeds, each pair once: what two conditions share is drawn once.

    `pictures` holds those of the seeds in `keep`; of the others only what was found on them is remembered.
    """

    draw: Callable[[Sequence[str], Sequence[int]], Sequence[Image.Image]]
    judge: Judge
    style: str
    progress: Callable[[int], None] = lambda _count: None
    keep: frozenset[int] = frozenset()
    pictures: dict[tuple[str, int], Image.Image] = field(default_factory=dict)
    _found: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)

    def see(self, items: Sequence[PromptItem], texts: Sequence[str], batch: int = 64) -> Seen:
        """Pictures of texts [N] at the prompts' seeds, and which of the asked attributes they show."""
        keys = [(text, item.seed) for text, item in zip(texts, items, strict=True)]
        asked = {item.seed: item.attributes for item in items}
        fresh = [key for key in dict.fromkeys(keys) if key not in self._found]
        for start in range(0, len(fresh), batch):
            some = fresh[start : start + batch]
            drawn = self.draw([text for text, _ in some], [seed for _, seed in some])
            hits = self.judge.hits(self.judge.look(drawn), [asked[seed] for _, seed in some], self.style)
            for row, key in enumerate(some):
                if key[1] in self.keep:
                    self.pictures[key] = drawn[row]
                self._found[key] = {name: float(values[row]) for name, values in hits.items()}
        self.progress(len(keys))
        names = self._found[keys[0]]
        return Seen({name: np.array([self._found[key][name] for key in keys]) for name in names})


def metrics(seen: Mapping[str, Seen], resamples: int = 1000, seed: int = 0) -> Metrics:
    """Adherence of every condition, what was recovered, and how often an attack leaves the picture's attributes."""
    result = Metrics()
    clean = seen["clean"].adherence
    bootstrap = Bootstrap(len(clean), resamples, seed)
    for name, found in seen.items():
        result.put(name, bootstrap.mean(found.adherence))
    result.put("clean_generator.ratio", bootstrap.ratio(seen["clean_generator"].adherence, clean))
    if "japanese" in seen:
        result.put("japanese.ratio", bootstrap.ratio(seen["japanese"].adherence, seen["clean_generator"].adherence))
    if any(name.startswith("attacked.") for name in seen):
        _attacks(result, seen, bootstrap)
    return result


def _attacks(result: Metrics, seen: Mapping[str, Seen], bootstrap: Bootstrap) -> None:
    """What all attacks leave, and what reading them wins back."""
    clean = seen["clean"].adherence
    attacked, rescued = (
        np.mean([seen[f"{name}.{kind}"].adherence for kind in KINDS], axis=0) for name in ("attacked", "rescued")
    )
    result.put("recovered", bootstrap.ratio(rescued, clean))
    result.put("won_back", bootstrap.ratio(rescued - attacked, clean - attacked))
    for kind in KINDS:
        result.put(f"attacked.{kind}.ratio", bootstrap.ratio(seen[f"attacked.{kind}"].adherence, clean))
        for name in ("attacked", "rescued"):
            result.put(f"{name}.{kind}.kept", kept(seen["clean"], seen[f"{name}.{kind}"]))


def kept(clean: Seen, changed: Seen, confidence: float = 0.95) -> statistics.Estimate:
    """Probability that a random attack keeps what the clean picture shows (arXiv 2402.15429); Clopper-Pearson."""
    rows = [np.nan_to_num(values) <= np.nan_to_num(changed.hits[name]) for name, values in clean.hits.items()]
    survived = np.all(rows, axis=0)
    count, successes = len(survived), int(survived.sum())
    tail = (1.0 - confidence) / 2.0
    low = float(beta.ppf(tail, successes, count - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1.0 - tail, successes + 1, count - successes)) if successes < count else 1.0
    return statistics.Estimate(successes / count, low, high)


def too_weak(found: Metrics) -> list[str]:
    """The attacks that leave too much, in words."""
    names = {kind: f"attacked.{kind}.ratio" for kind in KINDS}
    ratios = {kind: float(found.values[name]) for kind, name in names.items() if name in found.values}
    return [
        f"attacked.{kind} leaves {ratio:.2f} of the clean adherence, more than {WEAKEST}"
        for kind, ratio in ratios.items()
        if ratio > WEAKEST
    ]


def calibrate(
    items: Sequence[PromptItem],
    reader: Reader,
    write: Write,
    render: Render,
    see: Callable[[Sequence[PromptItem], Sequence[str]], Seen],
    **origin: str,
) -> Calibration | None:
    """Learn the confidence from one picture an item: clean requests and the reader's attacks, drawn by lot.

    None where no prompt asks for anything that counts.

    Args:
        items: prompts of the *calibrate* set.
        origin: the calibration's `judge` and `client`.
    """
    prompts, lot = [], random.Random(0)
    for item in items:
        kind = lot.choice((None, *KINDS))
        prompts.append(write(_attacked(reader, item, kind) if kind else item.prompt))
    seen = see(items, [render(prompt) for prompt in prompts])
    outcomes = seen.outcomes(items, [prompt.draft for prompt in prompts])
    return fit(outcomes, reader.vocabulary).model_copy(update=origin) if outcomes else None


def _attacked(reader: Reader, item: PromptItem, kind: AttackKind) -> str:
    """The prompt with mistakes; as it is where the reader has no attack."""
    if reader.attack is None:
        return item.prompt
    return reader.attack(item.prompt, item.attributes, kind, seed=item.seed)

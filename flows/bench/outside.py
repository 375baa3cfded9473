"""How much of a request is read rightly after mistakes that others have collected; nothing is drawn for it."""

from collections.abc import Callable, Sequence

from components.contracts import RunLog
from components.errors import EnvironmentProblem
from components.image.evaluation.metrics import Metrics
from components.image.promptset import PromptItem
from components.prompting.reader import Collected, Reader
from components.prompting.schema import RobustPrompt

FEWEST = 10
"""Hits from which an attribute may be the worst."""


def metrics(items: Sequence[PromptItem], reader: Reader, write: Callable[[str], RobustPrompt], log: RunLog) -> Metrics:
    """`outside.<kind>`: of the attributes whose words were hit the share that is read rightly, with the worst of them.

    `outside.<kind>.all` counts the attributes beside them too. Kinds whose collections are not installed are left out.
    """
    result = Metrics()
    for kind, attack in reader.outside.items():
        try:
            _measure(result, f"outside.{kind}", items, attack, write)
        except EnvironmentProblem as error:
            log.warn(f"outside.{kind} is not measured: {error.message} {error.hint}")
    return result


def _measure(
    result: Metrics,
    name: str,
    items: Sequence[PromptItem],
    attack: Collected,
    write: Callable[[str], RobustPrompt],
) -> None:
    right: dict[str, list[bool]] = {}
    beside: list[bool] = []
    for item in items:
        made = attack(item.prompt, item.attributes, seed=item.seed)
        if not made.hits:
            continue
        asked = write(made.text).draft.asked
        for attribute, value in item.attributes.items():
            beside.append(asked.get(attribute) == value)
            if attribute in made.hits:
                right.setdefault(attribute, []).append(beside[-1])
    hits = [each for some in right.values() for each in some]
    if hits:
        result.put(name, sum(hits) / len(hits))
        result.put(f"{name}.all", sum(beside) / len(beside))
        result.put(f"{name}.hits", len(hits))
        shares = [sum(some) / len(some) for some in right.values() if len(some) >= FEWEST]
        result.put(f"{name}.worst", min(shares, default=sum(hits) / len(hits)))

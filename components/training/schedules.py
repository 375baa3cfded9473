"""Learning rate schedules: factors on the peak, as functions of the share of the steps that is done (and the step)."""

import math
from collections.abc import Callable

Schedule = Callable[[float, int], float]


def one_cycle(progress: float, step: int = 0, *, warmup: float = 0.05, hold: float = 0.1) -> float:
    """Linear up, held, then half a cosine down to 1 % of the peak (arXiv 1708.07120, without momentum)."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    if progress < hold:
        return 1.0
    return max(0.5 * (1.0 + math.cos(math.pi * min((progress - hold) / (1.0 - hold), 1.0))), 0.01)


def held(progress: float, step: int, *, warmup: int = 100, decay: float = 0.2) -> float:
    """Linear up over `warmup` steps, held, linear down to 0 over the last share `decay` (arXiv 2405.18392).

    What comes before the end does not depend on how long the training is, so that one may be made longer later.
    """
    return max(min((step + 1) / warmup, (1.0 - progress) / decay, 1.0), 0.0)

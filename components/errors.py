"""Every error Kyara raises on purpose.

KyaraError                  the root: a message that names the value, a code (key for translation), a hint (what to do)
├── RecipeError             a recipe does not parse or holds wrong values; carries all of them
├── DataError               a dataset folder or a picture cannot be used
├── ModelError              a base model, adapter or checkpoint is missing, damaged or of another family
├── ArtifactError           a sealed folder is missing, unsealed or fails verification
├── EnvironmentProblem      this machine lacks something: disk, memory, a free port, a package, a remote
├── RequestError            a generation request holds a wrong value
├── GateRefused             a model is not good enough to be promoted; carries the metrics that failed
└── TrackingError           the registry or tracking server does not hold what was asked, or does not answer

`retryable` tells an orchestrator whether the same call may succeed later with nothing changed.
"""

from collections.abc import Sequence


class KyaraError(Exception):
    """Root of the tree. `str(error)` is one sentence that names the value; `hint` says what to do about it."""

    code = "error"
    retryable = False

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class RecipeError(KyaraError):
    """All mistakes of a recipe at once; `problems` has one sentence each."""

    code = "recipe"

    def __init__(self, message: str, problems: Sequence[str] = (), *, hint: str = "") -> None:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(message + listed, hint=f"\n{hint}" if hint and problems else hint)
        self.problems = tuple(problems)


class DataError(KyaraError):
    """A dataset folder or a picture cannot be used."""

    code = "data"


class ModelError(KyaraError):
    """A base model, adapter or checkpoint is missing, damaged or of another family."""

    code = "model"


class ArtifactError(KyaraError):
    """A sealed folder is missing, unsealed or fails verification."""

    code = "artifact"


class EnvironmentProblem(KyaraError):
    """This machine lacks something: disk, memory, a free port, a package, a remote that answers."""

    code = "environment"


class RequestError(KyaraError):
    """A generation request holds a wrong value."""

    code = "request"


class GateRefused(KyaraError):
    """A model is not good enough to be promoted; `failures` names each metric, its value and its bound."""

    code = "gate"

    def __init__(self, message: str, failures: Sequence[str]) -> None:
        super().__init__(message + "".join(f"\n  - {failure}" for failure in failures))
        self.failures = tuple(failures)


class TrackingError(KyaraError):
    """The registry or tracking server does not hold what was asked, or does not answer."""

    code = "tracking"

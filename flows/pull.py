"""`kyara pull`: a version of the registry as a promoted folder here, to which the champion pointer then points.

Serving itself knows no MLflow: this follower stands beside it, and a folder with a pointer lies between them.
"""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components import artifact, tracking
from components.errors import KyaraError, RequestError, TrackingError
from components.modalities import modality
from components.settings import settings
from components.tracking import CHAMPION, ModelVersion
from flows.promote import models_folder, was_accepted
from flows.registry import fetch, is_whole

logger = logging.getLogger("kyara")

LONGEST_PAUSE = 300.0
_REFERENCE = re.compile(
    r"(?:models:/)?(?P<name>[a-z0-9][a-z0-9_.-]{0,99})(?:@(?P<alias>[\w-]{1,100})|[:/](?P<number>[1-9]\d{0,8}))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reference:
    """A version of a registered model by its number, or by an alias that moves."""

    name: str
    alias: str = CHAMPION
    number: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """From NAME, NAME@ALIAS, NAME:VERSION, or as MLflow writes it: models:/NAME@ALIAS, models:/NAME/VERSION.

        Raises RequestError.
        """
        found = _REFERENCE.fullmatch(text.strip())
        if found is None:
            raise RequestError(
                f"{text[:200]!r} names no registered model.",
                hint="Expected manga-tiny, manga-tiny@champion or manga-tiny:3, with models:/ before it or not.",
            )
        return cls(found["name"], found["alias"] or CHAMPION, found["number"])

    def __str__(self) -> str:
        return f"models:/{self.name}{f'/{self.number}' if self.number else f'@{self.alias}'}"


@dataclass(frozen=True)
class Pulled:
    """The version that the pointer names now; `changed` is False where it named it before, with all its files."""

    version: ModelVersion
    folder: Path
    changed: bool


def find(reference: Reference) -> ModelVersion:
    """The version that is meant, as the registry knows it. Raises TrackingError."""
    if reference.number is None:
        found = tracking.version_by_alias(reference.name, reference.alias)
    else:
        found = next((each for each in tracking.versions(reference.name) if each.number == reference.number), None)
    if found is None:
        raise TrackingError(
            f"the registry at {settings().tracking_uri!r} has no {str(reference)!r}.",
            hint="Promote a version (`kyara produce`), or set KYARA_MLFLOW_URI to the team's server.",
        )
    if not was_accepted(found):
        raise TrackingError(
            f"version {found.number} of {found.name!r} was not accepted by the gate.", hint="Name another version."
        )
    return found


def pull(reference: Reference, say: Callable[[str], None] = logger.info) -> Pulled:
    """Bring a version here, and move the champion pointer to it.

    Raises:
        TrackingError: the registry has no such version, does not answer, or its files are damaged.
        EnvironmentProblem: the disk is full.
    """
    version = find(reference)
    row = modality(version.tags["modality"])
    parent = models_folder(version.name, row.name)
    folder = parent / version.number
    if _named(parent, serves=row.serves) == folder and is_whole(folder):
        return Pulled(version, folder, False)
    if not _is_sound(folder):
        fetch(version, folder, say)
    (artifact.point if row.serves else artifact.make_ready)(parent, version.number)
    say(f"version {version.number} of {version.name!r} lies in {folder}")
    return Pulled(version, folder, True)


def _named(parent: Path, *, serves: bool) -> Path | None:
    """The version that is pointed to here."""
    try:
        return artifact.pointed(parent) if serves else artifact.ready(parent)
    except KyaraError:
        return None


def _is_sound(folder: Path) -> bool:
    """Whether every file has its digest."""
    try:
        artifact.open_sealed(folder, verify=True)
    except KyaraError:
        return False
    return True


def follow(reference: Reference, every: float, say: Callable[[str], None] = logger.info) -> None:
    """Pull again and again, until the process is told to end. A failure is said, and costs nothing but freshness.

    Args:
        every: seconds between two looks; doubled after each failure in a row, up to LONGEST_PAUSE.
    """
    pause = every
    while True:
        try:
            pull(reference, say)
            pause = every
        except KyaraError as error:
            pause = min(2 * pause, LONGEST_PAUSE)
            say(f"{error} What lies here stays; the next look is in {pause:.0f} s.")
        time.sleep(pause)

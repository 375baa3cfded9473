"""The file of API keys of a service that is reachable from elsewhere.

One key a line: `NAME SECRET [PER_MINUTE]`; SECRET is the key itself or `sha256:` and its digest; `#` begins a comment.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.errors import EnvironmentProblem

_HINT = "KYARA_KEYS names a file with a line `NAME SECRET [PER_MINUTE]` for each key."
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
SHORTEST = 16
"""Characters of a key that stands in the file as it is."""


@dataclass(frozen=True)
class Key:
    """One line of the file."""

    name: str
    digest: bytes
    per_minute: float


def read_keys(file: Path, per_minute: float) -> Sequence[Key]:
    """The keys of a file. Raises EnvironmentProblem, which names the line but no secret."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentProblem(f"the keys in {str(file)!r} cannot be read: {error}.", hint=_HINT) from error
    keys = [
        _key(line.split(), f"line {number} of {str(file)!r}", per_minute)
        for number, line in enumerate((line.partition("#")[0].strip() for line in lines), 1)
        if line
    ]
    if not keys:
        raise EnvironmentProblem(f"{str(file)!r} holds no key.", hint=_HINT)
    return keys


def _key(parts: Sequence[str], where: str, per_minute: float) -> Key:
    if len(parts) not in (2, 3) or not _NAME.fullmatch(parts[0]):
        raise EnvironmentProblem(f"{where} is wrong.", hint=_HINT)
    hashed = _HASHED.fullmatch(parts[1])
    if not hashed and len(parts[1]) < SHORTEST:
        raise EnvironmentProblem(f"the key in {where} is too short: expected {SHORTEST} characters.", hint=_HINT)
    try:
        rate = float(parts[2]) if len(parts) == 3 else per_minute
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise EnvironmentProblem(f"the rate in {where} is wrong: expected requests a minute.", hint=_HINT)
    return Key(parts[0], bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(parts[1].encode()).digest(), rate)

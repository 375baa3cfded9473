"""Keys: kept out of every error, repr and log line."""

import re
import unicodedata

from pydantic import SecretStr

from components.prompting.clients import Refused

LONGEST = 160
_HIDDEN = "***"
# What looks like a key although it is not ours: `sk-…`, `AIza…`, `Bearer …`, `?key=…`, and anything half masked.
_KEYLIKE = re.compile(r"(?i)(bearer\s+\S+|\b(?:api[_-]?)?key=[^\s&]+|\S*\*{3,}\S*|[A-Za-z0-9_\-]{20,})")


def usable(key: SecretStr | str | None, name: str) -> SecretStr | None:
    """The key without blanks around it.

    A key that no HTTP header can hold is refused here: the libraries below would quote it in their errors.
    """
    if key is None:
        return None
    value = (key.get_secret_value() if isinstance(key, SecretStr) else key).strip()
    if not value:
        return None
    if not value.isascii() or not value.isprintable() or " " in value:
        raise Refused(f"The key of {name} holds blanks or characters that no header can carry.")
    return SecretStr(value)


def required(key: SecretStr | str | None, name: str) -> SecretStr:
    """As `usable`, for a service that answers nobody without a key."""
    found = usable(key, name)
    if found is None:
        raise Refused(f"{name} needs a key.", hint="Set it in the environment, or choose the lexicon client.")
    return found


def scrub(text: str, key: SecretStr | None = None) -> str:
    """Somebody else's text as one short line without control characters and without anything like a key."""
    if key is not None:
        text = text.replace(key.get_secret_value(), _HIDDEN)
    visible = "".join(" " if unicodedata.category(mark)[0] == "C" else mark for mark in text[: 4 * LONGEST])
    line = " ".join(_KEYLIKE.sub(_HIDDEN, visible).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"

"""May the model be published, and under which licence: what is said of its pictures decides.

A statement is an SPDX AND-expression, as the dataset stage writes it. A model made from pictures is treated as derived
from them, which is the careful reading; who holds the rights may say otherwise with --license.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from components.errors import RequestError


@dataclass(frozen=True)
class Licence:
    """A row of the table: the hub's identifier, and what it asks of whoever passes the work on.

    `weight` orders those that can be combined: the model as a whole stands under the heaviest.
    """

    hub: str
    weight: int
    credit: bool = True
    allowed: bool = True


# By the letters and digits of SPDX identifiers and of how people write them.
LICENCES: Mapping[str, Licence] = MappingProxyType(
    {
        "cc010": Licence("cc0-1.0", 0, credit=False),
        "cc0": Licence("cc0-1.0", 0, credit=False),
        "pddl": Licence("pddl", 0, credit=False),
        "unlicense": Licence("unlicense", 0, credit=False),
        "wtfpl": Licence("wtfpl", 0, credit=False),
        "mit": Licence("mit", 1),
        "apache20": Licence("apache-2.0", 1),
        "ccby30": Licence("cc-by-3.0", 2),
        "ccby40": Licence("cc-by-4.0", 2),
        "openrail": Licence("openrail", 3),
        "openrailpp": Licence("openrail++", 3),
        "creativemlopenrailm": Licence("creativeml-openrail-m", 3),
        "ccbysa30": Licence("cc-by-sa-3.0", 4),
        "ccbysa40": Licence("cc-by-sa-4.0", 4),
        "ccbync30": Licence("cc-by-nc-3.0", 5),
        "ccbync40": Licence("cc-by-nc-4.0", 5),
        "ccbyncsa30": Licence("cc-by-nc-sa-3.0", 6),
        "ccbyncsa40": Licence("cc-by-nc-sa-4.0", 6),
        "ccbynd40": Licence("cc-by-nd-4.0", 9, allowed=False),
        "ccbyncnd40": Licence("cc-by-nc-nd-4.0", 9, allowed=False),
    }
)
FORBIDDING = re.compile(r"\bno[ -]?deriv|\bND\b|all rights reserved|proprietary|confidential|private", re.IGNORECASE)
WAY_OUT = "If the rights are yours, or were given to you, say so: `kyara publish --license <SPDX>`."


def licence_of(statement: str, artist: str) -> Licence:
    """The licence of a model made from pictures under `statement`.

    Args:
        artist: whom the pictures are credited to; empty or "unknown": nobody is named.

    Raises:
        RequestError: nobody says which licence, it forbids derived works, it is not in the table, several exclude each
            other, or it asks for a credit that nobody can give.
    """
    parts = [part.strip() for part in re.split(r"\s+AND\s+|[,;]", statement) if part.strip()]
    if not parts or "unknown" in map(str.lower, parts):
        message = "nobody says under which licence the training pictures are, so the model is not published."
        raise RequestError(message, hint=f"Set dataset.license, or write provenance.json. {WAY_OUT}")
    found = [_row(part) for part in parts]
    heaviest = max(found, key=lambda row: row.weight)
    _refuse_mixture(parts, found)
    if any(row.credit for row in found) and artist.strip().lower() in ("", "unknown"):
        message = f"the licence {statement!r} asks to name the artist of the pictures, and no artist is known."
        raise RequestError(message, hint="Write `artist` into provenance.json beside the pictures.")
    return heaviest


def named_licences(text: str) -> list[str]:
    """The Creative Commons licences that a text (ATTRIBUTION.md) names, each once."""
    return sorted(set(re.findall(r"\bCC0 1\.0\b|\bCC BY(?:-[A-Z]{2})* \d\.\d\b", text)))


def _row(part: str) -> Licence:
    row = LICENCES.get(re.sub(r"[^a-z0-9]", "", part.lower().replace("+", "p")))
    if FORBIDDING.search(part) or (row is not None and not row.allowed):
        message = f"the licence {part!r} of the training pictures forbids what is derived from them."
        raise RequestError(message, hint=WAY_OUT)
    if row is None:
        message = f"the licence {part!r} of the training pictures is not one that Kyara knows."
        raise RequestError(
            message, hint=f"Known: {', '.join(sorted({row.hub for row in LICENCES.values()}))}. {WAY_OUT}"
        )
    return row


def _refuse_mixture(parts: list[str], found: list[Licence]) -> None:
    """Share-alike keeps its own terms: two of them, or one beside a licence that forbids trade, go nowhere together."""
    alike = {row.hub for row in found if "-sa-" in row.hub}
    trade = {row.hub for row in found if "-nc-" in row.hub and "-sa-" not in row.hub}
    if len(alike) > 1 or (alike and trade):
        message = f"the licences {' and '.join(map(repr, parts))} cannot be met at once (share-alike keeps its terms)."
        raise RequestError(message, hint=f"Train on one kind of them. {WAY_OUT}")

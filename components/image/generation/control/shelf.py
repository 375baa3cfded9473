"""The ControlNets that a request may name, and the one for a kind: no path or id of a stranger is ever opened.

A network of ours is a diffusers folder with control.json. It is looked for in this order: with the promoted model
(controlnets/<name>/), among what was produced here (models/control/<recipe>/, the version that passed its gate last),
shipped (data/control/<name>/). Public ones are named by the owner of the machine: KYARA_CONTROLNETS, hub ids or folders
by comma.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.artifact import READY, digest_of, ready
from components.errors import RequestError
from components.image.generation.control import CARD, CONTROLNETS, NETWORK
from components.settings import settings

SHIPPED = "data/control"


@dataclass(frozen=True)
class Shelved:
    """One network: its name, where it lies (a folder, or a hub id), and its card; without one it is not ours."""

    name: str
    place: str
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str | None:
        """What steers it; None: it does not say."""
        return self.card.get("kind")


def shelf(promoted: Path | None = None) -> Iterator[Shelved]:
    """All known networks, the nearest first."""
    here = settings()
    if promoted is not None:
        yield from _folders(promoted / CONTROLNETS)
    for mark in sorted((here.models_dir / "control").glob(f"*/{READY}")):
        if (version := ready(mark.parent)) is not None:
            yield from _ours(mark.parent.name, version / NETWORK)
    yield from _folders(here.resolve(SHIPPED))
    for name in here.controlnets:
        yield Shelved(name, name, _card(here.resolve(name)))


def find(kind: str, name: str | None, base: str, promoted: Path | None = None) -> Shelved:
    """The network of a name; without one the first of the kind, those first that were trained on this very base.

    Args:
        base: digest of the model's base.

    Raises:
        RequestError: there is none, or it is of another kind.
    """
    known = list(shelf(promoted))
    if name is None:
        of_kind = sorted((each for each in known if each.kind == kind), key=lambda each: each.card.get("base") != base)
        if not of_kind:
            hint = (
                f"Make one: `kyara produce control-{kind}`; or name a public one in KYARA_CONTROLNETS and in `model`."
            )
            raise RequestError(f"there is no ControlNet for kind {kind!r}.", hint=hint)
        return of_kind[0]
    for each in known:
        if each.name == name:
            if kind not in (each.kind or kind, "picture"):
                raise RequestError(f"ControlNet {name!r} is steered by a {each.kind}, not by a {kind}.")
            return each
    listed = ", ".join(dict.fromkeys(each.name for each in known)) or "none yet"
    raise RequestError(f"ControlNet {name!r} is unknown.", hint=f"Known: {listed}; KYARA_CONTROLNETS names more.")


def base_digest(base: str) -> str:
    """By which a ControlNet knows the base that it was trained on: of a folder's files, or of a hub id."""
    local = settings().resolve(base)
    return digest_of(local if local.is_dir() else Path(base))


def _folders(folder: Path) -> Iterator[Shelved]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield from _ours(path.name, path)


def _ours(name: str, folder: Path) -> Iterator[Shelved]:
    card = _card(folder)
    if card:
        yield Shelved(name, str(folder), card)


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}

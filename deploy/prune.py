"""What the image does not need: every installed distribution that nothing in the extras below asks for.

`python deploy/prune.py` lists it; `--remove` uninstalls it. The lock holds the tools of developers too; they are
installed by the same hashes, and leave again in the same layer.
"""

import argparse
import subprocess
import sys
from collections.abc import Collection, Iterable
from importlib.metadata import distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "kyara"
EXTRAS = ("cluster", "studio", "team", "video")
# Asked for by no metadata: torch comes by a file of its own.
ALSO = ("torch",)


def wanted(asked: Requirement, extras: Collection[str]) -> bool:
    """Whether a requirement holds on this machine."""
    marks = [{"extra": extra} for extra in ("", *extras)]
    return asked.marker is None or any(asked.marker.evaluate(mark) for mark in marks)


def needed(root: str = ROOT, extras: Iterable[str] = EXTRAS) -> set[str]:
    """Names of everything that the root asks for in these extras, itself included."""
    installed = {canonicalize_name(each.metadata["Name"]): each for each in distributions()}
    found: dict[str, set[str]] = {}
    open_ends = [(canonicalize_name(root), frozenset(extras)), *((name, frozenset()) for name in ALSO)]
    while open_ends:
        name, more = open_ends.pop()
        if name not in installed or (name in found and more <= found[name]):
            continue
        found[name] = found.get(name, set()) | more
        for text in installed[name].requires or ():
            requirement = Requirement(text)
            if wanted(requirement, found[name]):
                open_ends.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return set(found)


def superfluous() -> list[str]:
    """Installed, and needed by nobody."""
    return sorted({canonicalize_name(each.metadata["Name"]) for each in distributions()} - needed())


def main() -> int:
    """Exit code of the uninstall; 0 for a list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--remove", action="store_true")
    names = superfluous()
    print("\n".join(names))
    if not parser.parse_args().remove:
        return 0
    others = [name for name in names if name != "pip"]
    uninstall = [sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet"]
    done = subprocess.run([*uninstall, *others], check=False).returncode if others else 0
    return done or subprocess.run([*uninstall, "pip"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

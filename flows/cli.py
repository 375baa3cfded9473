"""The `kyara` command: what it does lies in `flows/commands`; here a refusal becomes one sentence and an exit code."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from components.errors import KyaraError
from components.settings import quiet_environment
from flows.commands import making, pictures, presets, servers
from flows.commands.shared import app, say

__all__ = ["main", "making", "pictures", "presets", "servers"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 refused (one sentence on stderr), 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    quiet_environment()
    try:
        app([each for each in given if each != "--debug"], prog_name="kyara", standalone_mode=True)
    except KyaraError as error:
        if debug:
            raise
        _refuse(error)
    except KeyboardInterrupt:
        say("kyara: interrupted; run it again to resume.")
        sys.exit(130)


def _refuse(error: KyaraError) -> None:
    say(f"kyara: {error.message}")
    if error.hint:
        say(error.hint.strip())
    sys.exit(1)


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """`--debug` is taken out before, so that it may stand anywhere; here it is only documented."""


if __name__ == "__main__":
    main()

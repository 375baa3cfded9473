"""The studio behind a port, with the options of options.toml.

python -m serving.studio [--port N] [--address A] [--host NAME]
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.settings import settings

HERE = Path(__file__).parent


def flags(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested options as Streamlit's flags: {"theme": {"base": "dark"}} -> --theme.base=dark."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from flags(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield from (f"--{prefix}{name}={_text(each)}" for each in value)
        else:
            yield f"--{prefix}{name}={_text(value)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def arguments(port: int, address: str, hosts: Sequence[str] = ()) -> list[str]:
    """What Streamlit's own command line is given. `hosts`: names besides loopback under which it answers."""
    options = tomllib.loads((HERE / "options.toml").read_text(encoding="utf-8"))
    options["server"]["allowedHosts"] += hosts
    where = [f"--server.port={port}", f"--server.address={address}", f"--browser.serverAddress={address}"]
    return ["run", str(HERE / "app.py"), *flags(options), *where]


def main() -> None:
    """Serve until the process ends."""
    from streamlit.web.cli import main as streamlit

    parser = argparse.ArgumentParser(prog="python -m serving.studio", description=__doc__)
    parser.add_argument("--port", type=int, default=settings().studio_port)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--host", action="append", default=[], help="Name besides loopback under which it answers.")
    asked = parser.parse_args()
    sys.exit(streamlit(arguments(asked.port, asked.address, asked.host), prog_name="kyara studio"))


if __name__ == "__main__":
    main()

"""What a container of the one image runs, in the place of this process: `deploy/entrypoint.py [ROLE [ARGUMENTS]]`.

A platform that gives no command sets the variable ROLE. BIND (0.0.0.0) and PORT (each role's own) say where a server
listens; everything else is the environment of the programs themselves (docs/phase-4-deployment.md). Standard library
only.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = (sys.executable, "-m")
ROLES: Mapping[str, Callable[[str, str], Sequence[str]]] = {
    "service": lambda bind, port: (
        *PYTHON, "bentoml", "serve", "serving.service:kyara", "--host", bind, "--port", port or "3000",
    ),
    # The registry's champion, followed, in one process tree: where there is no second container to pull it.
    "replica": lambda bind, port: (*PYTHON, "flows.cli", "serve", "--host", bind, "--port", port or "3000"),
    "studio": lambda bind, port: (*PYTHON, "serving.studio", "--port", port or "8501", "--address", bind),
    "worker": lambda bind, port: (*PYTHON, "flows.cli", "worker"),
    "prefect": lambda bind, port: (
        *PYTHON, "uvicorn", "--factory", "flows.prefect_server:application", "--host", bind, "--port", port or "4200",
        "--log-level", "warning",
    ),
    "mlflow": lambda bind, port: (
        *PYTHON, "mlflow", "server", "--host", bind, "--port", port or "5000", "--workers", "1",
    ),
    "bucket": lambda bind, port: (sys.executable, str(ROOT / "deploy" / "bucket.py")),
    "kyara": lambda bind, port: (*PYTHON, "flows.cli"),
}  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Become the role's program. Exits with 2 for an unknown role."""
    role, *more = arguments or [os.environ.get("ROLE", "service")]
    if role not in ROLES:
        sys.exit(f"entrypoint: role {role!r} is unknown. Expected one of: {', '.join(ROLES)}.")
    command = [*ROLES[role](os.environ.get("BIND", "0.0.0.0"), os.environ.get("PORT", "")), *more]
    os.chdir(ROOT)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Make Kyara's environment: `python bootstrap.py` (standard library only, every platform).

Checks Python, makes .venv, installs torch unless one is there, then everything else by the hashes of requirements.lock,
then Kyara itself. A second run with the same lock does nothing. Each run is logged to logs/setup_<time>.log.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / ".kyara-installed"
INPUTS = ("requirements-torch.txt", "requirements.lock", "pyproject.toml")
NEEDED_GB = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when the environment is ready."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", action="store_true", help="install again even when nothing has changed")
    parser.add_argument(
        "--keep-torch", action="store_true", help="let .venv see the torch of the Python that runs this"
    )
    options = parser.parse_args(arguments)
    problem = find_problem()
    if problem:
        print(f"bootstrap: {problem}", file=sys.stderr)
        return 1
    wanted = fingerprint()
    if not options.force and STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted:
        return 0
    log = ROOT / "logs" / f"setup_{time.strftime('%Y%m%d_%H%M%S')}.log"
    log.parent.mkdir(exist_ok=True)
    try:
        install(log, see_outer_torch=options.keep_torch)
    except subprocess.CalledProcessError as error:
        print(f"bootstrap: step failed with status {error.returncode}: {' '.join(error.cmd)}", file=sys.stderr)
        print(f"bootstrap: the end of {log} says why; running bootstrap.py again goes on from there.", file=sys.stderr)
        print(
            "".join(log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[-15:]), file=sys.stderr
        )
        return 1
    STAMP.write_text(wanted, encoding="utf-8")
    return 0


def find_problem() -> str | None:
    """Why this machine cannot hold the environment, in one sentence; None when it can."""
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        found = sys.version.split()[0]
        return f"Python {found} is running; Kyara needs 3.11, 3.12 or 3.13. Run bootstrap.py with one of them."
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB and not STAMP.exists():
        return f"{free:.1f} GB are free in {ROOT}; the environment needs about {NEEDED_GB} GB. Free some space."
    return None


def fingerprint() -> str:
    """Digest of everything that decides what is installed."""
    digest = hashlib.sha256(sys.version.encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def install(log: Path, *, see_outer_torch: bool) -> None:
    """Make .venv and fill it."""
    python = venv_python()
    if not python.exists():
        step(
            "making .venv",
            [sys.executable, "-m", "venv", *(["--system-site-packages"] if see_outer_torch else []), str(VENV)],
            log,
        )
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    if not has_torch(python):
        step("installing torch", [*pip, "install", "-r", str(ROOT / "requirements-torch.txt")], log)
    lock = str(ROOT / "requirements.lock")
    step("installing the locked packages", [*pip, "install", "--no-deps", "--require-hashes", "-r", lock], log)
    step("installing kyara", [*pip, "install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], log)


def venv_python() -> Path:
    """The interpreter inside .venv."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def has_torch(python: Path) -> bool:
    """Whether some torch is importable already (CPU, CUDA or ROCm: never replaced)."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return subprocess.run([str(python), "-c", code], check=False).returncode == 0


def step(what: str, command: Sequence[str], log: Path) -> None:
    """Run one command, its output into the log, a line with the seconds on the screen."""
    started = time.monotonic()
    print(f"bootstrap: {what} ...", flush=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ {' '.join(command)}\n")
        stream.flush()
        subprocess.run(list(command), check=True, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    print(f"bootstrap: {what}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())

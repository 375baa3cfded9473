"""Make Kyara's environment: `python bootstrap.py` (standard library only, every platform).

Checks Python, makes .venv, installs everything but torch by the hashes of requirements.lock (with uv, or with pip where
uv cannot), then torch unless one is there, then Kyara itself. A second run with the same lock does nothing. Each run is
logged to logs/setup_<time>.log.

Packages come from where your pip is set up to look (pip.conf, PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS);
uv is told the same. --torch chooses among the builds of torch that are found there:
  auto  where there is an NVIDIA GPU the CUDA build, else the CPU build; where that is not found, whatever is
  cpu   the build for processors only (+cpu), which PyTorch keeps in an index of its own; on Linux
  cuda  any build but that one; on Linux
Name PyTorch's own index for your platform in PIP_EXTRA_INDEX_URL where the usual one lacks the build.
"""

import argparse
import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / ".kyara-installed"
TORCH, LOCK = "requirements-torch.txt", "requirements.lock"
INPUTS = (TORCH, LOCK, "pyproject.toml")
NEEDED_GB = 6
SAY_EVERY_SECONDS = 20.0

Command = Sequence[str]


@dataclass(frozen=True)
class Step:
    """One thing to do: the first of `commands` that succeeds.

    `seconds` were measured on two cores with a near registry. Where all commands of a step that may fail do, the next
    step goes on without it.
    """

    what: str
    commands: Sequence[Command]
    seconds: float
    may_fail: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when the environment is ready."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", action="store_true", help="install again even when nothing has changed")
    parser.add_argument("--torch", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
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
        install(log, torch=options.torch, see_outer_torch=options.keep_torch)
    except subprocess.CalledProcessError as error:
        explain(error, log)
        return 1
    STAMP.write_text(wanted, encoding="utf-8")
    return 0


def explain(error: subprocess.CalledProcessError, log: Path) -> None:
    """Say which step failed, and the end of the log."""
    print(f"bootstrap: step failed with status {error.returncode}: {' '.join(error.cmd)}", file=sys.stderr)
    print(f"bootstrap: the end of {log} says why; running bootstrap.py again goes on from there.", file=sys.stderr)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    print("".join(lines[-15:]), file=sys.stderr)


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


def install(log: Path, *, torch: str, see_outer_torch: bool) -> None:
    """Make .venv and fill it. Raises CalledProcessError."""
    python = venv_python()
    steps = install_steps(python, torch)
    if not python.exists():
        outer = ["--system-site-packages"] if see_outer_torch else []
        run([Step("making .venv", [[sys.executable, "-m", "venv", *outer, str(VENV)]], 8), *steps], log, only=1)
    if has_torch(python):
        steps = [step for step in steps if step.what != "installing torch"]
        print("bootstrap: torch is there and stays as it is", flush=True)
    run(steps, log)


def install_steps(python: Path, torch: str) -> list[Step]:
    """What fills an empty .venv, in order. The packages come before torch, which then finds its own among them."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
    uv = [str(python.with_name("uv.exe" if os.name == "nt" else "uv")), "pip", "install", "--python", str(python)]
    uv_lock = ROOT / "logs" / "uv.lock.txt"
    uv_lock.parent.mkdir(exist_ok=True)
    uv_lock.write_text(locked("uv"), encoding="utf-8")
    packages = ["--no-deps", "--require-hashes", "-r"]
    kyara = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    index = uv_environment(pip_configuration())
    return [
        Step("installing uv", [[*pip, *packages, str(uv_lock)]], 5, may_fail=True),
        Step(
            "installing the locked packages",
            [[*uv, *packages, str(ROOT / LOCK)], [*pip, *packages, str(ROOT / LOCK)]],
            40,
            environment=index,
        ),
        Step("installing torch", [[*pip, "--no-compile", *build] for build in torch_builds(torch)], 40),
        Step("installing kyara", [[*uv, *kyara], [*pip, *kyara]], 4, environment=index),
    ]


def locked(package: str) -> str:
    """The lines of one package in the lock: its version and hashes."""
    text = (ROOT / LOCK).read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}==.*(?:\n .*)*", text, flags=re.MULTILINE)
    return f"{found.group()}\n" if found else ""


def torch_builds(choice: str) -> list[list[str]]:
    """Requirements of torch to try in turn, as arguments of pip."""
    any_build = ["-r", str(ROOT / TORCH)]
    if sys.platform != "linux":
        return [any_build]  # the usual index has one build only, and pip prefers what an index of PyTorch's adds
    exact = re.search(r"^torch==\S+", (ROOT / TORCH).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert exact is not None, f"{TORCH} names no version"
    builds = {"cpu": [f"{exact.group()}+cpu"], "cuda": [f"{exact.group()},!={exact.group().partition('==')[2]}+cpu"]}
    if choice != "auto":
        return [builds[choice]]
    return [builds["cuda" if has_gpu() else "cpu"], any_build]


def has_gpu() -> bool:
    """Whether NVIDIA's driver lists a GPU."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool, "-L"], capture_output=True, check=False).returncode == 0


def pip_configuration() -> dict[str, str]:
    """pip's settings by name; the environment wins over files."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    pairs = re.findall(r"^(global|install|:env:)\.([\w-]+)=(.*)$", output, flags=re.MULTILINE)
    order = ("global", "install", ":env:")
    return {name: ast.literal_eval(value) for _, name, value in sorted(pairs, key=lambda pair: order.index(pair[0]))}


def uv_environment(pip: Mapping[str, str]) -> dict[str, str]:
    """pip's settings as uv's; a user's own variables for uv win."""
    told = {
        "UV_DEFAULT_INDEX": pip.get("index-url"),
        "UV_INDEX": " ".join(pip.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "SSL_CERT_FILE": pip.get("cert"),
        # As pip: the lock's hashes say what is right, wherever it comes from.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    return {name: value for name, value in told.items() if value and name not in os.environ}


def venv_python() -> Path:
    """The interpreter inside .venv."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def has_torch(python: Path) -> bool:
    """Whether some torch is importable already (CPU, CUDA or ROCm: never replaced)."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return subprocess.run([str(python), "-c", code], check=False).returncode == 0


def run(steps: Sequence[Step], log: Path, only: int | None = None) -> None:
    """Run steps (or the first `only` of them), a line each; `steps` is all that is left. Raises CalledProcessError."""
    for number, step in enumerate(steps[:only]):
        left = sum(each.seconds for each in steps[number:])
        print(f"bootstrap: {step.what} ... (about {_duration(left)} left in all)", flush=True)
        started = time.monotonic()
        for attempt, command in enumerate(step.commands):
            status = execute(command, step, log, left)
            if status == 0:
                break
            if attempt + 1 < len(step.commands):
                print(f"bootstrap: {Path(command[0]).name} could not; trying another way", flush=True)
        else:
            if not step.may_fail:
                raise subprocess.CalledProcessError(status, command)
        print(f"bootstrap: {step.what}: {time.monotonic() - started:.0f} s", flush=True)


def execute(command: Command, step: Step, log: Path, left: float) -> int:
    """Run one command, its output into the log, and say now and then that it goes on; its exit status."""
    started = time.monotonic()
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ {' '.join(command)}\n")
        stream.flush()
        try:
            process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **step.environment},
            )
        except OSError as error:
            stream.write(f"{error}\n")
            return 127
        with process:
            while True:
                try:
                    return process.wait(SAY_EVERY_SECONDS)
                except subprocess.TimeoutExpired:
                    passed = time.monotonic() - started
                    rest = f"about {_duration(left - passed)} left" if passed < step.seconds else "longer than usual"
                    print(f"bootstrap: {step.what}: {passed:.0f} s, {rest}", flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    sys.exit(main())

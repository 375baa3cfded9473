"""What this machine has, what is missing, and what to do about it."""

import importlib.util
import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from components.settings import settings
from flows.ports import bind_error, port_owner
from flows.stage import known_recipes, open_recipe

GB = 1e9
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
# Minutes of the demo's pipeline on two cores, with and without matrix products in bfloat16 (README).
DEMO_MINUTES = {True: 10, False: 18}
NEEDED_MEMORY, NEEDED_DISK = 4, 5
NEEDED = ("torch", "diffusers", "transformers", "peft", "prefect", "mlflow", "dvc", "bentoml", "openvino")
OPTIONAL = {
    "xformers": "memory-efficient attention on older GPUs",
    "flash_attn": "faster attention on recent GPUs",
    "triton": "compiled GPU kernels (torch.compile)",
}


@dataclass(frozen=True)
class Finding:
    """One row. `missing` stops Kyara, `note` does not."""

    name: str
    state: Literal["ok", "note", "missing"]
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """All findings; a check that breaks is a finding itself."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _devices,
        _memory_and_disk,
        _ports,
        _data,
        _tools,
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:
            name = check.__name__.strip("_")
            findings.append(Finding(name, "note", f"cannot be examined: {error!r}", "Please report this."))
    return findings


def show(findings: list[Finding], *, as_json: bool) -> None:
    """A table on stdout, or a JSON list."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
        return
    table = Table("", "", "found", "what to do", box=None)
    colours = {"ok": "green", "note": "yellow", "missing": "bold red"}
    for finding in findings:
        table.add_row(f"[{colours[finding.state]}]{finding.state}[/]", finding.name, finding.found, finding.advice)
    Console().print(table)


def demo_forecast() -> str:
    """How long the demo's pipeline takes on a machine like this one, as a sentence."""
    import torch

    from components.training.speed import multiplies_bfloat16

    has_bfloat16 = multiplies_bfloat16(torch.device("cpu"))
    kind = f"two cores {'with' if has_bfloat16 else 'without'} BF16 instructions (this machine: {_cores()} cores)"
    faster = ", less on a GPU" if torch.cuda.is_available() else ""
    minutes = DEMO_MINUTES[has_bfloat16]
    return f"The whole pipeline takes about {minutes} minutes on {kind}{faster}; what is current is skipped."


def _cores() -> str:
    return str(psutil.cpu_count(logical=False) or "?")


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    right = OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON
    advice = f"Use Python {'.'.join(map(str, OLDEST_PYTHON))} to {'.'.join(map(str, NEWEST_PYTHON))}."
    yield Finding("Python", "ok" if right else "missing", found, "" if right else advice)


def _packages() -> Iterator[Finding]:
    for name in NEEDED:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "missing", "not installed", "Run `python bootstrap.py`.")
    for name, use in OPTIONAL.items():
        there = importlib.util.find_spec(name) is not None
        yield Finding(name, "ok" if there else "note", "installed" if there else "not installed", f"optional: {use}")


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("CPU", "ok", f"{_cores()} cores, torch uses {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            yield Finding("GPU", "ok", f"{card.name}, {card.total_memory / GB:.0f} GB")
    elif torch.backends.mps.is_available():
        yield Finding("GPU", "ok", "Apple MPS")
    else:
        yield Finding("GPU", "note", "none", "The demo needs none; SD 1.5 and SDXL train in hours to days without.")


def _memory_and_disk() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    yield _enough("memory", memory.available / GB, memory.total / GB, NEEDED_MEMORY, "Close other programs.")
    here = settings().base_dir
    place = next(folder for folder in (here, *here.parents) if folder.exists())
    disk = shutil.disk_usage(place)
    yield _enough(f"disk of {place}", disk.free / GB, disk.total / GB, NEEDED_DISK, "Free some, or set KYARA_HOME.")


def _enough(name: str, free: float, total: float, needed: float, advice: str) -> Finding:
    found = f"{free:.1f} GB free of {total:.1f} GB"
    return (
        Finding(name, "ok", found)
        if free >= needed
        else Finding(name, "missing", found, f"{needed} GB are needed. {advice}")
    )


def _ports() -> Iterator[Finding]:
    here = settings()
    ports = {"prefect": here.prefect_port, "mlflow": here.mlflow_port, "serve": here.serve_port}
    for use, port in ports.items():
        if bind_error(port) is None:
            yield Finding(f"port {port} ({use})", "ok", "free")
        else:
            advice = f"If it is not Kyara's own, set KYARA_{use.upper()}_PORT."
            yield Finding(f"port {port} ({use})", "note", f"in use{port_owner(port)}", advice)


def _data() -> Iterator[Finding]:
    """What the recipes that come with Kyara read from inside the repository."""
    wanted = {
        path
        for name in known_recipes()
        for step in ("dataset", "evaluate")
        for path in open_recipe(name).step(step).sources().values()
    }
    for path in sorted(each for each in wanted if each.startswith("data/")):
        there = settings().resolve(path).exists()
        yield Finding(
            path, "ok" if there else "missing", "present" if there else "absent", "" if there else "Run `dvc pull`."
        )
    pointer = settings().root / "data.dvc"
    if pointer.is_file():
        digest = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"]
        yield Finding("data.dvc", "ok", digest)


def _tools() -> Iterator[Finding]:
    for name, use in (
        ("git", "clones and versions"),
        ("chromium", "tests of the pages"),
        ("docker", "container images"),
    ):
        found = shutil.which(name)
        yield Finding(name, "ok" if found else "note", found or "not installed", "" if found else f"Only for {use}.")

"""What `kyara doctor` says of this machine (tests/flows/test_cli.py runs the command)."""

import socket
import sys
import tomllib

import pytest
import torch

from components.settings import REPOSITORY, settings
from flows import doctor


def find(name: str) -> doctor.Finding:
    return next(finding for finding in doctor.examine() if finding.name == name)


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10), "missing"), ((3, 11), "ok"), ((3, 12), "ok"), ((3, 13), "ok"), ((3, 14), "missing")],
)
def test_every_supported_python_is_accepted(
    version: tuple[int, int], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    (finding,) = doctor._python()
    assert finding.state == state and bool(finding.advice) == (state == "missing")


def test_the_supported_pythons_are_those_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest, newest = (f"{major}.{minor}" for major, minor in (doctor.OLDEST_PYTHON, doctor.NEWEST_PYTHON))
    beyond = ".".join((newest.split(".")[0], str(int(newest.split(".")[1]) + 1)))
    assert project["requires-python"] == f">={oldest},<{beyond}"


def test_a_port_in_use_is_a_note_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("KYARA_MLFLOW_PORT", str(port))
        settings.cache_clear()
        finding = find(f"port {port} (mlflow)")
    assert finding.state == "note" and "in use" in finding.found and "KYARA_MLFLOW_PORT" in finding.advice


@pytest.mark.parametrize(("has_bfloat16", "said"), [(True, "about 10 minutes on two cores with"), (False, "about 18")])
def test_the_demo_says_how_long_it_takes_on_this_processor(
    has_bfloat16: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    capabilities = {"avx512_bf16": has_bfloat16, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert said in doctor.demo_forecast()


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def _broken() -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(doctor, "_tools", _broken)
    assert "no such thing" in find("broken").found

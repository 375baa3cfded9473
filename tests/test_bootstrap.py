"""bootstrap.py as a user's first contact: clear refusals, nothing done twice."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bootstrap


def test_this_machine_is_fit() -> None:
    assert bootstrap.find_problem() is None


def test_an_old_python_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 10, 1))
    assert "needs 3.11" in (bootstrap.find_problem() or "")


def test_a_full_disk_is_refused_before_anything_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "none")
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert "1.0 GB are free" in (bootstrap.find_problem() or "")


def test_an_unchanged_environment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = tmp_path / "stamp"
    stamp.write_text(bootstrap.fingerprint(), encoding="utf-8")
    monkeypatch.setattr(bootstrap, "STAMP", stamp)
    monkeypatch.setattr(bootstrap, "install", lambda *_, **__: pytest.fail("installed again"))
    assert bootstrap.main([]) == 0


def test_a_failing_step_shows_the_end_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(log: Path, **_: object) -> None:
        bootstrap.run([step(python("print('the reason'); sys.exit(3)"))], log)

    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(bootstrap, "fingerprint", lambda: "x")
    monkeypatch.setattr(bootstrap, "install", fail)
    assert bootstrap.main([]) == 1
    assert "the reason" in capsys.readouterr().err
    assert not (tmp_path / "stamp").exists()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, sys; {code}"]


def step(*commands: list[str], **fields: Any) -> bootstrap.Step:
    return bootstrap.Step("working", commands, 30, **fields)


def test_the_first_command_that_succeeds_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    bootstrap.run([step(["no-such-program"], python("print('done')"), python("print('too much')"))], log)
    assert "done\n" in log.read_text() and "too much\n" not in log.read_text()
    assert "trying another way" in capsys.readouterr().out


def test_a_step_that_may_fail_stops_nothing_and_another_does(tmp_path: Path) -> None:
    broken = python("sys.exit(1)")
    bootstrap.run([step(broken, may_fail=True)], tmp_path / "log")
    with pytest.raises(subprocess.CalledProcessError):
        bootstrap.run([step(broken)], tmp_path / "log")


def test_time_left_is_said_at_each_step_and_while_one_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "SAY_EVERY_SECONDS", 0.05)
    slow = python("import time; time.sleep(0.3)")
    bootstrap.run([step(slow), step(python("pass"))], tmp_path / "log")
    bootstrap.run([bootstrap.Step("late", [slow], 0)], tmp_path / "log")
    said = capsys.readouterr().out
    assert "working ... (about 60 s left in all)" in said and "working ... (about 30 s left in all)" in said
    assert "working: 0 s, about 60 s left" in said and "late: 0 s, longer than usual" in said


def test_uv_comes_from_the_lock_with_its_hashes() -> None:
    lines = bootstrap.locked("uv").splitlines()
    assert lines[0].startswith("uv==") and len(lines) > 1
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:])
    assert bootstrap.locked("nothing-like-this") == ""


def test_packages_go_through_uv_and_fall_back_to_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    steps = {each.what: each for each in bootstrap.install_steps(bootstrap.venv_python(), "cpu")}
    assert list(steps)[-2:] == ["installing torch", "installing kyara"]
    assert steps["installing uv"].may_fail and "--require-hashes" in steps["installing uv"].commands[0]
    for what in ("installing the locked packages", "installing kyara"):
        uv, pip = steps[what].commands
        assert Path(uv[0]).stem == "uv" and pip[1:3] == ["-m", "pip"] and not steps[what].may_fail
    assert all(command[1:3] == ["-m", "pip"] for command in steps["installing torch"].commands)


@pytest.mark.parametrize(
    ("choice", "gpu", "builds"),
    [
        ("cpu", True, [["torch==2.13.0+cpu"]]),
        ("cuda", False, [["torch==2.13.0,!=2.13.0+cpu"]]),
        ("auto", False, [["torch==2.13.0+cpu"], ["-r"]]),
        ("auto", True, [["torch==2.13.0,!=2.13.0+cpu"], ["-r"]]),
    ],
)
def test_the_build_of_torch_is_chosen(
    choice: str, gpu: bool, builds: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "has_gpu", lambda: gpu)
    monkeypatch.setattr(sys, "platform", "linux")
    found = bootstrap.torch_builds(choice)
    assert [build[:1] for build in found] == builds


def test_uv_looks_where_pip_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")) or name == "SSL_CERT_FILE":
            monkeypatch.delenv(name)
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = mirror:one\nextra-index-url =\n    mirror:two\n    mirror:three\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "mirror:env")
    told = bootstrap.uv_environment(bootstrap.pip_configuration())
    assert told["UV_DEFAULT_INDEX"] == "mirror:env" and told["UV_INDEX"] == "mirror:two mirror:three"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "mirror:own")
    assert "UV_DEFAULT_INDEX" not in bootstrap.uv_environment(bootstrap.pip_configuration())
    assert bootstrap.uv_environment({}) == {"UV_INDEX_STRATEGY": "unsafe-best-match"}


def test_no_address_of_a_registry_is_written_down() -> None:
    for name in ("bootstrap.py", bootstrap.TORCH, "Makefile"):
        assert "://" not in (bootstrap.ROOT / name).read_text(encoding="utf-8")

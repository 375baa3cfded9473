"""bootstrap.py as a user's first contact: clear refusals, nothing done twice."""

import sys
from pathlib import Path
from types import SimpleNamespace

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
    def fail(log: Path, *, see_outer_torch: bool) -> None:
        bootstrap.step("failing", [sys.executable, "-c", "import sys; print('the reason'); sys.exit(3)"], log)

    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(bootstrap, "fingerprint", lambda: "x")
    monkeypatch.setattr(bootstrap, "install", fail)
    assert bootstrap.main([]) == 1
    assert "the reason" in capsys.readouterr().err

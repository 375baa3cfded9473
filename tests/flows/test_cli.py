import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from components.settings import REPOSITORY, settings
from flows import cli


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    out, err = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), out, err


def test_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['kyara', '--help']\nimport flows.cli\n"
        "try: flows.cli.main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'prefect', 'mlflow', 'bentoml', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True)


def test_all_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in ("demo", "produce", "stage", "generate", "serve", "ui", "worker", "bench", "rollback", "doctor"):
        assert name in out


def test_a_mistake_is_one_sentence_a_hint_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "produce", "nothing-like-this")
    assert code == 1 and out == ""
    lines = err.strip().splitlines()
    assert lines[0] == "kyara: recipe 'nothing-like-this' is neither a file nor known."
    assert "Known: anime-sd15" in lines[1] and "Traceback" not in err


def test_all_mistakes_of_a_recipe_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ("--set", "train.rnak=3", "--set", "distill.steps=0", "--set", "seed=-1")
    code, _, err = run(capsys, "produce", "manga-tiny", *wrong)
    assert code == 1 and "has 3 mistake(s)" in err
    assert "did you mean 'rank'" in err and "distill.steps" in err and "seed" in err


def test_debug_shows_the_traceback() -> None:
    from components.errors import RecipeError

    with pytest.raises(RecipeError):
        cli.main(["produce", "nothing-like-this", "--debug"])


def test_a_wrong_option_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "generate", "x", "--seed", "-1")[0] == 2


def test_bench_lists_what_it_knows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "bench", "qualty", "--out", str(tmp_path / "x.json"))
    assert code == 1 and "Known: " in err and "quality" in err
    assert run(capsys, "bench", "quality")[0] == 2


def test_a_bench_without_outputs_says_what_to_run(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, _, err = run(capsys, "bench", "quality", "--out", str(home / "q.json"))
    assert code == 1 and "is not sealed" in err and "kyara produce" in err


def test_a_port_in_use_is_named(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("KYARA_PREFECT_PORT", str(port))
        settings.cache_clear()
        code, _, err = run(capsys, "ui")
    assert code == 1 and f"port {port} is in use" in err and "KYARA_PREFECT_PORT" in err


def test_generate_without_a_model_says_so(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, _, err = run(capsys, "generate", "a girl")
    assert code == 1 and "no model was promoted" in err


def test_the_queue_needs_a_server(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    code = "from flows.cli import main\nmain(['produce', 'manga-tiny', '--queue'])"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "KYARA_PREFECT_PORT": str(free)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1 and f"no Prefect server answers on port {free}" in found.stderr


def test_doctor_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")
    findings = {row["name"]: row for row in json.loads(out)}
    assert {"Python", "torch", "memory", "xformers", "data/base"} <= set(findings)
    assert all(row["state"] in ("ok", "note", "missing") for row in findings.values())
    assert (code == 1) == any(row["state"] == "missing" for row in findings.values())
    assert all(row["advice"] for row in findings.values() if row["state"] == "missing")

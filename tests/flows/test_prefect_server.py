"""Which Prefect server is used: the environment's, the active profile's, or none."""

import os
import subprocess
import sys
from pathlib import Path

from components.settings import REPOSITORY
from flows.ports import free_port

ASK = "from flows.prefect_server import configured_api; print(configured_api())"
WORK = "from flows.cli import main\nmain(['worker'])"


def ask(home: Path, code: str = ASK, **variables: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "KYARA_"))}
    told = {"KYARA_HOME": str(home / "kyara"), "HOME": str(home), "KYARA_PREFECT_PORT": str(free_port()), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env={**kept, **told}, cwd=REPOSITORY, capture_output=True, text=True
    )


def profile(home: Path, address: str) -> None:
    (home / ".prefect").mkdir()
    text = f'active = "team"\n[profiles.team]\nPREFECT_API_URL = "{address}"\n'
    (home / ".prefect" / "profiles.toml").write_text(text)


def test_nothing_is_configured(tmp_path: Path) -> None:
    assert ask(tmp_path).stdout == "None\n"


def test_the_active_profile_counts_and_the_environment_wins(tmp_path: Path) -> None:
    profile(tmp_path, "http://team.example:4200/api")
    assert ask(tmp_path).stdout == "http://team.example:4200/api\n"
    assert ask(tmp_path, PREFECT_API_URL="http://mine:1/api").stdout == "http://mine:1/api\n"


def test_a_server_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}/api"
    profile(tmp_path, address)
    done = ask(tmp_path, WORK, PREFECT_CLIENT_MAX_RETRIES="0")
    assert done.returncode == 1 and f"the Prefect server '{address}' refuses" in done.stderr
    assert "PREFECT_API_AUTH_STRING" in done.stderr and "Traceback" not in done.stderr

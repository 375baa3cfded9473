"""Which addresses `kyara serve` may listen on."""

from pathlib import Path

import pytest

from components.errors import EnvironmentProblem
from components.settings import settings
from flows.server import check_exposed, command


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7"])
def test_beyond_loopback_only_with_sound_keys(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentProblem, match="no API keys") as refusal:
        check_exposed(host)
    assert "KYARA_KEYS" in refusal.value.hint
    monkeypatch.setenv("KYARA_KEYS", str(tmp_path / "keys"))
    settings.cache_clear()
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        check_exposed(host)
    (tmp_path / "keys").write_text("studio 0123456789abcdef\n")
    check_exposed(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.1.2.3"])
def test_loopback_needs_none(host: str) -> None:
    check_exposed(host)


def test_an_address_is_needed() -> None:
    with pytest.raises(EnvironmentProblem, match="no IP address"):
        check_exposed("everywhere")


def test_the_default_is_loopback() -> None:
    assert command("tiny:1", 3000)[-3] == "127.0.0.1"

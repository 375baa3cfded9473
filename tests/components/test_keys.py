"""The file of API keys: what is read, and what is refused without a secret being told."""

import hashlib
from pathlib import Path

import pytest

from components.errors import EnvironmentProblem
from components.keys import read_keys


def test_a_line_names_a_key_which_may_be_hashed_and_may_have_its_own_rate(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"0123456789abcdef").hexdigest()
    (tmp_path / "keys").write_text(f"# ours\n\none 0123456789abcdef\ntwo sha256:{digest} 2.5 # slow\n")
    one, two = read_keys(tmp_path / "keys", 60)
    assert (one.name, one.per_minute, two.name, two.per_minute) == ("one", 60, "two", 2.5)
    assert one.digest == two.digest == bytes.fromhex(digest)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "holds no key"),
        ("# nothing", "holds no key"),
        ("name", "line 1"),
        ("na/me 0123456789abcdef", "line 1"),
        ("name short", "too short"),
        ("name 0123456789abcdef 0", "rate"),
        ("name 0123456789abcdef nan", "rate"),
        ("name 0123456789abcdef 5 6", "line 1"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_telling_a_secret(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(EnvironmentProblem, match=named) as refusal:
        read_keys(tmp_path / "keys", 60)
    assert "0123456789abcdef" not in str(refusal.value) and "KYARA_KEYS" in refusal.value.hint


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        read_keys(tmp_path / "none", 60)

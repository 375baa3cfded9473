from pathlib import Path

import pytest

from components.imports import import_closure, imported_names, module_file, normalised, source_digest
from components.settings import REPOSITORY

SOURCE = '''"""A module."""
# a remark
LIMIT = 3
"""What an attribute means."""

def half(value: int) -> int:
    """Half of it."""
    return value // 2  # rounded down

class Empty:
    """Nothing but this."""
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package outside of ours whose modules import each other in every way."""
    package = tmp_path / "plugged"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("from . import first\n")
    (package / "first.py").write_text("import json\nfrom components.errors import KyaraError\n")
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "stage.py").write_text("def run():\n    from ..later import x\n    from .beside import y\n")
    (package / "deep" / "beside.py").write_text("import plugged.deep.stage\n")
    (package / "later.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def test_our_modules_are_followed_at_once_or_later_and_packages_count() -> None:
    found = import_closure("serving.service")
    assert found["serving.service"] == REPOSITORY / "serving" / "service.py"
    assert {"components", "components.origins", "serving.metrics", "components.errors"} <= set(found)
    assert not [name for name in found if name.startswith(("starlette", "flows", "components.training"))]


def test_a_module_that_is_left_out_takes_what_only_it_imports_with_it() -> None:
    everything, without = import_closure("flows.runs"), import_closure("flows.runs", without={"components.recipe"})
    assert {"components.recipe", "components.artifact"} <= set(everything)
    assert "components.recipe" not in without and "components.artifact" in without


def test_a_plugin_is_followed_through_relative_imports_and_into_ours(plugin: Path) -> None:
    found = import_closure("plugged.deep.stage")
    ours = {name for name in found if name.startswith("plugged")}
    assert ours == {
        "plugged",
        "plugged.first",
        "plugged.later",
        "plugged.deep",
        "plugged.deep.stage",
        "plugged.deep.beside",
    }
    assert "components.errors" in found and "json" not in found
    assert found["plugged.later"] == plugin / "later.py"


def test_an_unknown_module_has_no_file() -> None:
    assert import_closure("components.nothing") == import_closure("nowhere.nothing") == {}
    assert module_file("") is module_file("sys") is module_file("components.errors.KyaraError") is None


def test_names_of_a_file_are_those_of_any_import(plugin: Path) -> None:
    assert list(imported_names("plugged.first", plugin / "first.py")) == [
        "json",
        "components.errors",
        "components.errors.KyaraError",
    ]


def digest(folder: Path, source: str) -> str:
    (folder / "module.py").write_text(source, encoding="utf-8")
    return source_digest({"module": folder / "module.py"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a remark\n", ""),
        ("A module.", "Another sentence."),
        ('"""What an attribute means."""\n', ""),
        ("Half of it.", "The half."),
        ("value // 2", "(value\n        // 2)"),
        ("Nothing but this.", "Still nothing."),
    ],
)
def test_words_and_layout_do_not_change_the_digest(tmp_path: Path, old: str, new: str) -> None:
    assert old in SOURCE
    assert digest(tmp_path, SOURCE) == digest(tmp_path, SOURCE.replace(old, new))


@pytest.mark.parametrize(("old", "new"), [("LIMIT = 3", "LIMIT = 4"), ("// 2", "/ 2"), ("Empty", "Void")])
def test_code_changes_the_digest(tmp_path: Path, old: str, new: str) -> None:
    assert digest(tmp_path, SOURCE) != digest(tmp_path, SOURCE.replace(old, new))


def test_the_digest_knows_the_modules_names(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("x = 1\n")
    assert source_digest({"a": file}) != source_digest({"b": file})


def test_normalised_code_still_compiles_where_a_docstring_was_all() -> None:
    namespace: dict[str, object] = {}
    exec(normalised(SOURCE), namespace)
    assert namespace["half"](5) == 2 and namespace["Empty"].__doc__ is None  # type: ignore[operator]


def test_every_source_of_ours_can_be_normalised() -> None:
    for file in (REPOSITORY / "components").rglob("*.py"):
        compile(normalised(file.read_text(encoding="utf-8")), str(file), "exec")

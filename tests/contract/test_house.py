"""The rules of the house that the import linter cannot see."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.modalities import MODALITIES, load_recipe, modality
from components.plugins import PLUGINS, resolve
from components.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
DOTTED = [dotted for row in MODALITIES.values() for dotted in (row.recipe, *row.stages.values())]
DOTTED += [dotted for table in PLUGINS.values() for dotted in table.values()]


@pytest.mark.parametrize("dotted", DOTTED)
def test_every_dotted_string_resolves(dotted: str) -> None:
    assert resolve(dotted) is not None


def test_stages_are_recipe_sections_in_order() -> None:
    for row in MODALITIES.values():
        kind: type[Recipe] = resolve(row.recipe)
        assert list(row.stages) == list(kind.configs) == [name for name in kind.model_fields if name in row.stages]


def test_unknown_modality_names_the_known_ones() -> None:
    with pytest.raises(Exception, match=r"'video' is unknown.*image"):
        modality("video")


@pytest.mark.parametrize("module", ["components.modalities", "components.tracking", "flows.cli", "serving.service"])
def test_listing_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("recipe", sorted((ROOT / "flows" / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads_under_its_own_name(recipe: Path) -> None:
    assert load_recipe(recipe).name == recipe.stem


def test_lock_file_holds_no_addresses_and_not_torch() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if "://" in line]
    assert not [line for line in lines if line.startswith(("torch==", "triton==", "nvidia-cu"))]


def test_no_python_file_lies_beside_the_mlflow_library() -> None:
    assert list((ROOT / "mlflow").rglob("*.py")) == []

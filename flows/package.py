"""The champion as a Bento: its model, the code that serves it, and nothing that trains.

A Bento's version is the model's, and a digest of model, code and section: the same product has one tag.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import packages_distributions
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import yaml

from components.artifact import MANIFEST, Artifact, latest_champion, open_sealed, pointed, write_json
from components.errors import EnvironmentProblem, KyaraError, ModelError
from components.imports import import_closure, imported_names
from components.modalities import modality, product
from components.recipe import Recipe
from components.settings import REPOSITORY, quiet_environment, settings
from flows.registry import link_or_copy

SERVICE = "serving.service"
OWN = "kyara"
BUILD_SECONDS = 600


def build(recipe: Recipe, version_folder: Path, labels: Mapping[str, str | None]) -> str:
    """Build the champion's Bento and return its tag; a Bento of the same model, code and section is not built again.

    Args:
        version_folder: models/<modality>/<recipe>/<version>, which the champion pointer beside it must name.
        labels: where it came from (mlflow_run_id, mlflow_version, prefect_flow_run_id, dvc_digest); None is left out.

    Raises:
        ModelError: the folder is not the champion.
        ArtifactError: it is not sealed, or a file differs from its manifest.
        EnvironmentProblem: BentoML fails.
    """
    if pointed(version_folder.parent).resolve() != version_folder.resolve():
        raise ModelError(f"{str(version_folder)!r} is not the champion.", hint="Only a promoted model is packaged.")
    tag = tag_of(recipe, version_folder)
    if not exists(tag):
        model = open_sealed(version_folder, verify=True)
        store().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=store()) as folder:
            known = {name: value for name, value in labels.items() if value is not None}
            known |= {"model_digest": model.digest, "code_digest": code_digest(recipe, version_folder)}
            _lay_out(Path(folder), recipe, model, known)
            _bentoml_build(Path(folder), tag, recipe, known)
    return tag


def tag_of(recipe: Recipe, version_folder: Path) -> str:
    """The tag that `build` gives: <recipe>:<version>-<digest of model, code and section>."""
    facts = [open_sealed(version_folder).digest, code_digest(recipe, version_folder), recipe.package.digest()]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
    return f"{recipe.name}:{version_folder.name}-{digest}"


def exists(tag: str) -> bool:
    """Whether the store holds the Bento."""
    return (bento_folder(tag) / "bento.yaml").is_file()


def bento_folder(tag: str) -> Path:
    """Where a Bento lies; `src/` in it holds what the service runs from."""
    name, _, version = tag.partition(":")
    return store() / "bentos" / name / version


def store() -> Path:
    """BentoML's home."""
    quiet_environment()
    return Path(os.environ["BENTOML_HOME"])


def bento_labels(tag: str) -> dict[str, str]:
    """The labels of a Bento. Raises KyaraError for one that is not there."""
    try:
        found = yaml.safe_load((bento_folder(tag) / "bento.yaml").read_text(encoding="utf-8"))
    except OSError as error:
        raise KyaraError(f"Bento {tag!r} is not in {str(store())!r}.", hint="Run `kyara produce RECIPE`.") from error
    return dict(found["labels"])


def champion_bento() -> str:
    """The tag of the Bento built from the champion; of several recipes the one that was promoted last.

    Raises:
        ModelError: nothing was promoted, or the champion has no Bento.
    """
    champion = latest_champion(settings().models_dir)
    if champion is None:
        raise ModelError(
            f"no model was promoted in {str(settings().models_dir)!r}.", hint="Run `kyara produce RECIPE`."
        )
    recipe = champion.parent.name
    wanted = open_sealed(champion).digest
    built = sorted((store() / "bentos" / recipe).glob("*/bento.yaml"), key=lambda file: -file.stat().st_mtime_ns)
    for tag in (f"{recipe}:{file.parent.name}" for file in built):
        if bento_labels(tag).get("model_digest") == wanted:
            return tag
    raise ModelError(f"version {champion.name} of {recipe!r} has no Bento.", hint=f"Run `kyara produce {recipe}`.")


def source_files(modules: Sequence[str]) -> list[Path]:
    """Files of this repository that modules import, at once or later, themselves included; relative to it."""
    found = {file for module in modules for file in _closure(module)}
    return sorted(file.relative_to(REPOSITORY) for file in found if file.is_relative_to(REPOSITORY))


@cache
def _closure(module: str) -> tuple[Path, ...]:
    """Parsed once a process: a tag is asked for again and again, and the code does not change meanwhile."""
    return tuple(import_closure(module).values())


@cache
def _owners() -> Mapping[str, Sequence[str]]:
    """Importable name -> distributions; looks through everything that is installed."""
    return packages_distributions()


def _shipped(recipe: Recipe, version_folder: Path) -> list[Path]:
    """All files of ours that go into a Bento, the model apart."""
    web = sorted(file.relative_to(REPOSITORY) for file in (REPOSITORY / "serving" / "web").glob("*") if file.is_file())
    served = modality(recipe.modality).product
    named = product(recipe.modality)
    apis = [dotted.partition(":")[0] for dotted in named.APIS]
    return [*source_files([SERVICE, served, *apis, *named.plugins(version_folder)]), *web]


def code_digest(recipe: Recipe, version_folder: Path) -> str:
    """sha256 over everything in a Bento but the model and its labels."""
    digest = hashlib.sha256("\n".join(requirements(recipe, version_folder)).encode())
    for file in _shipped(recipe, version_folder):
        digest.update(f"\0{file.as_posix()}\0".encode() + (REPOSITORY / file).read_bytes())
    return digest.hexdigest()


def requirements(recipe: Recipe, version_folder: Path) -> list[str]:
    """What the image installs: what the shipped code imports, in the versions that were measured here."""
    code = [file for file in _shipped(recipe, version_folder) if file.suffix == ".py"]
    tops = {name.partition(".")[0] for file in code for name in imported_names(module_name(file), REPOSITORY / file)}
    owners = _owners()
    # A namespace that several distributions share (google) belongs to clients that are installed by those who use them.
    found = {owners[top][0].lower().replace("_", "-") for top in tops if len(set(owners.get(top, ()))) == 1} - {OWN}
    names = sorted({"bentoml", *found, *product(recipe.modality).REQUIREMENTS})
    return [f"{name}=={installed(name).partition('+')[0]}" for name in names]


def own_code() -> dict[str, str]:
    """This process's environment, without what would lead a Bento to other code than its own: what is missing from it
    is noticed when it is built, not where it is served.
    """
    return {name: value for name, value in os.environ.items() if name not in ("KYARA_ROOT", "PYTHONPATH")}


def module_name(file: Path) -> str:
    """Dotted name of a source file of this repository."""
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _lay_out(folder: Path, recipe: Recipe, model: Artifact, labels: Mapping[str, str]) -> None:
    """The build context: code, model (hard links where possible) and package.json, which serving.bundled reads."""
    for file in _shipped(recipe, model.path):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / file, folder / file)
    for name in (*model.manifest["files"], MANIFEST):
        link_or_copy(model.path / name, folder / "model" / name)
    facts = {
        "name": recipe.name,
        "modality": recipe.modality,
        "product": modality(recipe.modality).product,
        "config": recipe.package.model_dump(mode="json"),
        "labels": dict(labels),
    }
    write_json(folder / "package.json", facts)


def _bentoml_build(folder: Path, tag: str, recipe: Recipe, labels: Mapping[str, str]) -> None:
    """In a process of its own: building imports the service from its context and changes the working directory.

    By the function and not by `bentoml build`, which refuses a context below a hidden folder.
    """
    name, _, version = tag.partition(":")
    options: dict[str, Any] = {
        "service": f"{SERVICE}:kyara",
        "name": name,
        "version": version,
        "build_ctx": str(folder),
        "description": f"# {tag}\n\n{recipe.description or 'A character model.'}\n",
        "labels": dict(labels),
        "include": [
            *sorted({f"{file.parts[0]}/" for file in _shipped(recipe, folder / "model")}),
            "model/",
            "package.json",
        ],
        "python": {"packages": requirements(recipe, folder / "model"), "lock_packages": False},
        "docker": {"python_version": f"{sys.version_info.major}.{sys.version_info.minor}"},
    }
    command = [sys.executable, "-c", "import bentoml, json, sys; bentoml.build(**json.load(sys.stdin))"]
    result = subprocess.run(
        command, cwd=folder, env=own_code(), input=json.dumps(options), capture_output=True, text=True,
        timeout=BUILD_SECONDS,
    )  # fmt: skip
    if result.returncode != 0 or not exists(tag):
        tail = "\n".join((result.stdout + result.stderr).strip().splitlines()[-15:])
        raise EnvironmentProblem(
            f"BentoML cannot build {tag!r}:\n{tail}\n", hint="Is the disk full? See `kyara doctor`."
        )

"""One stage in this process: `python -m flows.stage RECIPE STAGE`. DVC calls this; no Prefect, no MLflow."""

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from components.errors import KyaraError, RecipeError
from components.modalities import load_recipe, parse_recipe
from components.recipe import Recipe, merge, read_yaml
from components.settings import quiet_environment, settings

RECIPES = Path(__file__).parent / "recipes"


def known_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with Kyara."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def find_recipe(name: str) -> Path:
    """The file behind a path or a bare name. Raises RecipeError that lists the known ones."""
    given = Path(name).expanduser()
    known = RECIPES / f"{name}.yaml"
    if given.is_file():
        return given.resolve()
    if name in known_recipes():
        return known
    if (settings().root / given).is_file():
        return (settings().root / given).resolve()
    near = difflib.get_close_matches(given.stem, known_recipes(), n=1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    raise RecipeError(
        f"recipe {name!r} is neither a file nor known.", hint=f"{meant}Known: {', '.join(known_recipes())}."
    )


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """`["train.rank=4", "distill.guidance=[3, 5]"]` as nested mappings; values are YAML. Raises RecipeError."""
    merged: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        parts = key.strip().split(".")
        if not separator or not all(parts):
            raise RecipeError(
                f"override {pair!r} is malformed.", hint="Expected section.field=value, such as train.rank=4."
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(
                f"override {pair!r} holds no YAML value.", hint="Quote text that has a colon or a bracket."
            ) from error
        _place(merged, parts, value)
    return merged


def _place(target: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    for part in parts[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise RecipeError(f"override {'.'.join(parts)!r} is a field of a plain value.")
    target[parts[-1]] = value


def open_recipe(given: str | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe behind a path or bare name, or of plain data. Raises RecipeError."""
    if isinstance(given, str):
        return load_recipe(find_recipe(given), overrides)
    return parse_recipe(merge(given, overrides or {}), "the recipe")


def portable_recipe(name: str) -> str | dict[str, Any]:
    """A recipe as another machine can read it: the name of one that comes with Kyara, else what the file says."""
    file = find_recipe(name)
    return file.stem if file.parent == RECIPES else dict(read_yaml(file))


def run(name: str, stage: str, overrides: Mapping[str, Any] | None = None) -> None:
    """Run one stage with a bar on the console. Raises KyaraError."""
    from components.runlog import ConsoleLog
    from components.runner import run_stage
    from flows.heartbeat import beating, refuse_if_busy
    from flows.runs import new_run_id

    quiet_environment()
    recipe = open_recipe(name, overrides)
    refuse_if_busy(recipe.name)
    with ConsoleLog(stage) as log, beating(new_run_id(), {"recipe": recipe.name}):
        result = run_stage(recipe, stage, log)
        log.message(f"{'current' if result.skipped else 'done'} in {result.seconds:.1f} s: {result.artifact.path}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 and one sentence for a KyaraError, so that `dvc repro` stops and says why."""
    parser = argparse.ArgumentParser(prog="python -m flows.stage", description=__doc__)
    parser.add_argument("recipe", help="a YAML file, or the name of one in flows/recipes")
    parser.add_argument("stage", help="dataset, train, distill or evaluate")
    given = parser.parse_args(arguments)
    try:
        run(given.recipe, given.stage)
    except KyaraError as error:
        print(f"kyara: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

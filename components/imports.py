"""Which modules a module imports, and a digest of their code. Sources are parsed: importing them would load torch."""

import ast
import hashlib
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from components.settings import REPOSITORY

PACKAGES = ("components", "flows", "serving")


def import_closure(module: str, *, without: Collection[str] = ()) -> dict[str, Path]:
    """Every module of ours that importing `module` may load, at once or later, by dotted name; itself included.

    Args:
        module: one of our modules, or one of a plug-in, whose own package is followed too.
        without: modules that are left out, with what only they import.

    Returns:
        absolute files by dotted name; a package counts as its `__init__.py`. Nothing for an unknown module.
    """
    followed = {*PACKAGES, module.partition(".")[0]}
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name in without or name.partition(".")[0] not in followed:
            continue
        file = module_file(name)
        if file is not None:
            found[name] = file
            waiting += [name.rpartition(".")[0], *imported_names(name, file)]
    return dict(sorted(found.items()))


def imported_names(module: str, file: Path) -> Iterator[str]:
    """Dotted names that a source file imports, wherever the import stands; `from a import b` gives a and a.b."""
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def module_file(module: str) -> Path | None:
    """The source file of a module; None where it has none (a name inside a module, a namespace, a built-in)."""
    if not module:
        return None
    if module.partition(".")[0] in PACKAGES:
        # Not by `find_spec`, which imports the parents.
        path = REPOSITORY.joinpath(*module.split("."))
        return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin is not None else None


def source_digest(modules: Mapping[str, Path]) -> str:
    """sha256 over modules by name; comments, docstrings and layout leave it as it is."""
    digest = hashlib.sha256()
    for name, file in sorted(modules.items()):
        digest.update(f"{name}\0{normalised(file.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()


def normalised(source: str) -> str:
    """A module's code without comments, docstrings and the author's layout."""
    return ast.unparse(ast.fix_missing_locations(_WithoutStrings().visit(ast.parse(source))))


class _WithoutStrings(ast.NodeTransformer):
    """Drops strings that stand as statements: docstrings, also those of attributes."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if body == [] and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

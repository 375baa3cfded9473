"""What a recipe plugs in by name, as dotted strings: judges of pictures, readers of what users type, examples.

A name stands here, or is `package.module:object` itself (one's own judge, in a file beside the recipe's project).
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

from components.errors import RecipeError

Kind = Literal["judge", "reader", "examples"]

PLUGINS: Mapping[Kind, Mapping[str, str]] = MappingProxyType(
    {
        "judge": {
            "clip": "components.image.evaluation.clip:open_judge",
            "portraits": "components.portraits.plugin:open_judge",
        },
        "reader": {
            "portraits": "components.portraits.reader.plugin:READER",
        },
        "examples": {
            "portraits": "components.portraits.examples:EXAMPLES",
        },
    }
)


def dotted(kind: Kind, name: str) -> str:
    """`module:object` of a plug-in. Raises RecipeError for an unknown name."""
    if ":" in name:
        return name
    if name not in PLUGINS[kind]:
        known = ", ".join(PLUGINS[kind])
        raise RecipeError(f"{kind} {name!r} is unknown.", hint=f"Known: {known}; or name one as package.module:object.")
    return PLUGINS[kind][name]


def plugin(kind: Kind, name: str) -> Any:
    """The plug-in itself. Raises RecipeError for an unknown name, or one that cannot be imported."""
    return resolve(dotted(kind, name))


def resolve(text: str) -> Any:
    """The object behind `module:name`, or the module behind `module`. Raises RecipeError."""
    module, _, name = text.partition(":")
    try:
        found = import_module(module)
        return getattr(found, name) if name else found
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipeError(f"{text!r} cannot be imported: {error}.", hint="Expected package.module:object.") from error

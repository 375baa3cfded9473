"""Settings that are kept by a name."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.shared import app

presets = typer.Typer(no_args_is_help=True, help="Settings that you save by a name.")
app.add_typer(presets, name="preset")


@presets.command("save")
def save_preset(
    name: str,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A field of a request: steps=4.")
    ] = None,
    source: Annotated[Path | None, typer.Option("--from", help="A PNG whose own settings are taken.")] = None,
) -> None:
    """Keep settings under a name."""
    from components.image.generation.presets import save
    from flows.generate import settings_of
    from flows.stage import parse_overrides

    typer.echo(save(name, {**(settings_of(source) if source else {}), **parse_overrides(overrides or [])}))


@presets.command("list")
def list_presets(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """What was saved."""
    from components.image.generation.presets import listed

    found = listed()
    lines = [f"{name}: {json.dumps(values, ensure_ascii=False)}" for name, values in found.items()]
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2) if as_json else "\n".join(lines) or "none yet")


@presets.command("delete")
def delete_preset(name: str) -> None:
    """Forget settings."""
    from components.image.generation.presets import delete

    delete(name)

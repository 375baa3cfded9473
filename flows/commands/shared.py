"""What the commands share: the application, its commonest options, the champion."""

from pathlib import Path
from typing import Annotated

import typer

from components.errors import ModelError
from components.settings import settings

DEMO = "manga-tiny"

app = typer.Typer(
    name="kyara",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A model factory for anime characters: from a folder of pictures to a fast, measured, served model.",
)
Recipe = Annotated[str, typer.Argument(help="A YAML file, or the name of one in flows/recipes.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A value that wins over the recipe's: train.rank=4."),
]
RequestFields = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Any field of the mode: steps=8.")
]
PromotedFolder = Annotated[
    Path | None, typer.Option("--model", help="A promoted model's folder; default: the latest champion.")
]
KeyFrames = Annotated[
    list[str] | None,
    typer.Option("--to", help="A key frame: expression=frown,hair_color=blue, or seed=9, or another prompt."),
]


def say(text: str) -> None:
    """One line on stderr."""
    typer.echo(text, err=True)


def latest_champion(modality: str) -> Path:
    """The champion of a modality that was promoted last, of any recipe."""
    from components import artifact

    champion = artifact.latest_champion(settings().models_dir, modality)
    if champion is None:
        raise ModelError(f"no model was promoted in {str(settings().models_dir)!r}.", hint="Make one: `kyara demo`.")
    return champion

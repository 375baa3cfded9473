"""From pictures to a champion, and how good it is."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from components.errors import RequestError
from flows.commands.shared import DEMO, Overrides, Recipe, app, say


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Folder of the report and the picture.")] = Path("out")) -> None:
    """Run the whole pipeline on the demo's recipe, then ask the packaged model for a picture over HTTP."""
    from flows.demo import run

    run(DEMO, out)


@app.command()
def produce(
    recipe: Recipe,
    overrides: Overrides = None,
    queue: Annotated[bool, typer.Option("--queue", help="Hand it to the worker (`kyara worker`).")] = False,
) -> None:
    """Run a recipe from its pictures to a packaged champion. Ctrl-C stops it; the next run resumes."""
    from flows.stage import parse_overrides

    values = parse_overrides(overrides or [])
    if queue:
        from flows.deployments import enqueue

        typer.echo(enqueue(recipe, values))
        return
    from flows.foreground import produce_here

    typer.echo(json.dumps(produce_here(recipe, values), indent=2))


@app.command()
def stage(recipe: Recipe, name: Annotated[str, typer.Argument(metavar="STAGE")], overrides: Overrides = None) -> None:
    """Run one stage without tracking (this is what `dvc repro` calls)."""
    from flows.stage import parse_overrides, run

    run(recipe, name, parse_overrides(overrides or []))


@app.command()
def publish(
    recipe: Annotated[
        str | None, typer.Argument(help="A promoted recipe; default: the latest champion's.", show_default=False)
    ] = None,
    to: Annotated[str | None, typer.Option(help="user/name on the Hugging Face Hub; default: its name, yours.")] = None,
    push: Annotated[bool, typer.Option("--push", help="Send it. Without this nothing leaves the machine.")] = False,
    private: Annotated[bool, typer.Option("--private", help="A new repository is private.")] = False,
    license: Annotated[
        str | None,
        typer.Option(metavar="SPDX", help="What you know of the pictures' licence; wins over the dataset's."),
    ] = None,
    samples: Annotated[bool, typer.Option(help="Draw pictures for the card.")] = True,
) -> None:
    """The champion as a folder that diffusers, A1111 and ComfyUI load, with a model card; a dry run unless --push."""
    from flows.publish import publish as make

    made = make(recipe, to, push=push, private=private, license=license, samples=samples)
    for name, size in made.files:
        typer.echo(f"{size:>12,}  {name}")
    typer.echo(f"{sum(size for _, size in made.files):>12,}  bytes in {made.folder}")
    where = f"{made.repo} on the Hugging Face Hub"
    typer.echo(f"pushed: {made.url}" if made.url else f"Nothing was sent. With --push this becomes {where}.")


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="quality, prompts, outside, modes or service")],
    out: Annotated[Path, typer.Option(help="JSON file of the metrics; pictures go beside it.", show_default=False)],
    recipe: Annotated[str, typer.Option(help="Whose sealed outputs are measured.")] = DEMO,
    modes: Annotated[
        str,
        typer.Option(
            help="quality: current, or also both, plain or all: distil in other ways too. modes: which, by comma; "
            "current is all."
        ),
    ] = "current",
    overrides: Overrides = None,
) -> None:
    """Measure what the stages made more thoroughly than the pipeline does."""
    from importlib import import_module

    from flows.stage import parse_overrides

    known = sorted(file.stem for file in (Path(__file__).parent.parent / "bench").glob("[!_]*.py"))
    if name not in known:
        raise RequestError(f"bench {name!r} is unknown.", hint=f"Known: {', '.join(known)}.")
    metrics: dict[str, Any] = import_module(f"flows.bench.{name}").run(
        recipe, out, modes=modes, overrides=parse_overrides(overrides or [])
    )
    typer.echo(json.dumps(metrics, indent=2))


@app.command()
def rollback(
    recipe: Annotated[str, typer.Argument(help="A registered model, which has its recipe's name.")] = DEMO,
    to: Annotated[str | None, typer.Option(help="Version; default: the accepted one before the champion.")] = None,
) -> None:
    """Make the previous champion the champion again."""
    from flows.promote import rollback as roll_back

    promotion = roll_back(recipe, to)
    place = promotion.folder if promotion.folder.is_dir() else "its files are not on this machine"
    typer.echo(f"version {promotion.version} is the champion of {recipe}: {place}")
    typer.echo("A service that watches the folder takes it up; another serves it when it is started again.")
    typer.echo("Other machines take it up with `kyara pull`.")


@app.command()
def pull(
    model: Annotated[
        str | None,
        typer.Argument(help="NAME, NAME@ALIAS or NAME:VERSION; default: KYARA_CHAMPION.", show_default=False),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C; see KYARA_FOLLOW_SECONDS.")] = False,
) -> None:
    """Bring a promoted model here from the registry, verified, and point to it."""
    from components.settings import settings
    from flows.processes import terminable
    from flows.pull import Reference
    from flows.pull import follow as follow_it
    from flows.pull import pull as pull_it

    reference = Reference.parse(model or settings().champion or DEMO)
    if follow:
        with terminable():
            follow_it(reference, settings().follow_seconds, say)
    pulled = pull_it(reference, say)
    typer.echo(f"version {pulled.version.number} is the champion of {reference.name} here: {pulled.folder}")

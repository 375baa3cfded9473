"""What answers and what waits: service, pages, worker; and what this machine has."""

import contextlib
from typing import Annotated

import typer

from flows.commands.shared import app


@app.command()
def serve(
    tag: Annotated[
        str | None,
        typer.Argument(
            help="A Bento, or models:/NAME@ALIAS of the registry; default: KYARA_CHAMPION, then the champion's Bento.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Default: KYARA_SERVE_PORT, 3000.")] = None,
    host: Annotated[str, typer.Option(help="Any but loopback needs KYARA_KEYS.")] = "127.0.0.1",
) -> None:
    """Serve the champion over HTTP until Ctrl-C; on loopback unless there are keys."""
    from flows.replica import serve as serve_here

    raise typer.Exit(serve_here(tag, port, host))


@app.command()
def studio(
    port: Annotated[int | None, typer.Option(help="Default: KYARA_STUDIO_PORT, 8501.")] = None,
) -> None:
    """Serve the page for people who make pictures on loopback, and the champion where no service answers."""
    from flows.studio import pages

    with contextlib.suppress(KeyboardInterrupt):
        for line in pages(port):
            typer.echo(line)


@app.command()
def ui() -> None:
    """Serve the Prefect and MLflow pages on loopback until Ctrl-C."""
    from flows.ui import pages

    for address in pages():
        typer.echo(address)


@app.command()
def worker(
    kind: Annotated[
        str | None, typer.Option("--type", help="process, docker or kubernetes; default: KYARA_POOL_TYPE, process.")
    ] = None,
    pool: Annotated[str | None, typer.Option(help="Work pool; default: KYARA_POOL, kyara.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Runs at once; default: any number.")] = None,
) -> None:
    """Work on queued and scheduled runs until Ctrl-C; needs the server of `kyara ui`, or another (PREFECT_API_URL)."""
    from flows.deployments import work

    raise typer.Exit(work(kind, pool, limit))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """What this machine has, what is missing, and what to do about it."""
    from flows.doctor import examine, show

    findings = examine()
    show(findings, as_json=as_json)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)

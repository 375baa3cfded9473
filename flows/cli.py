"""The `kyara` command. Heavy imports stand inside the commands: `kyara --help` answers in half a second."""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from components.errors import KyaraError, ModelError, RequestError
from components.settings import quiet_environment, settings

DEMO = "manga-tiny"

app = typer.Typer(
    name="kyara",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A model factory for anime characters: from a folder of pictures to a fast, measured, served model.",
)
presets = typer.Typer(no_args_is_help=True, help="Settings that you save by a name.")
app.add_typer(presets, name="preset")
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 refused (one sentence on stderr), 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    quiet_environment()
    try:
        app([each for each in given if each != "--debug"], prog_name="kyara", standalone_mode=True)
    except KyaraError as error:
        if debug:
            raise
        _refuse(error)
    except KeyboardInterrupt:
        _say("kyara: interrupted; run it again to resume.")
        sys.exit(130)


def _refuse(error: KyaraError) -> None:
    _say(f"kyara: {error.message}")
    if error.hint:
        _say(error.hint.strip())
    sys.exit(1)


def _say(text: str) -> None:
    typer.echo(text, err=True)


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """`--debug` is taken out before, so that it may stand anywhere; here it is only documented."""


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
def generate(
    prompt: Annotated[str | None, typer.Argument(show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Equal seeds give equal pictures.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Default: as many as the model was distilled for.")] = None,
    count: Annotated[int | None, typer.Option("-n", min=1, help="Pictures, at consecutive seeds.")] = None,
    negative: Annotated[str | None, typer.Option(help="What to move away from.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to start from (image to image).")] = None,
    mask: Annotated[Path | None, typer.Option(help="With --image: draw anew where this is white (inpainting).")] = None,
    box: Annotated[str | None, typer.Option(help="Instead of --mask: left,top,right,bottom in pixels.")] = None,
    feather: Annotated[
        int | None, typer.Option(min=0, help="Pixels over which the mask's inner edge is mixed.")
    ] = None,
    strength: Annotated[float | None, typer.Option(help="How much may change: 0 nothing, 1 everything.")] = None,
    upscale: Annotated[float | None, typer.Option(help="Draw, or take --image, and enlarge it so many times.")] = None,
    controls: Annotated[
        list[str] | None,
        typer.Option(
            "--control",
            metavar="KIND=SOURCE[:WEIGHT]",
            help="Steer: sketch=lines.png, sketch-from=photo.png:0.7, pose=0.4,0.5,1.2,-10, pose-from=photo.png.",
        ),
    ] = None,
    source: Annotated[Path | None, typer.Option("--from", help="A PNG whose own settings are the base.")] = None,
    preset: Annotated[str | None, typer.Option(help="Saved settings (`kyara preset`).")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Any field of any mode: mode=upscale.")
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG file.")] = Path("out/picture.png"),
    model: Annotated[Path | None, typer.Option(help="A promoted model's folder; default: the latest champion.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Give the model the prompt as it is typed.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a prompt that can be read in several ways.")] = False,
) -> None:
    """Draw a picture with the champion, or change one; the prompt may be Japanese or English and may have mistakes."""
    from components.image.product import load
    from flows.controls import parse_control
    from flows.generate import asked, corners, other_model, write

    options = {
        "prompt": prompt, "seed": seed, "steps": steps, "n": count, "negative_prompt": negative, "image": image,
        "mask": mask, "box": box and corners(box), "feather": feather, "strength": strength, "scale": upscale,
        "raw": raw or (False if prompt and source else None), "strict": strict or None,
        "controls": [parse_control(text) for text in controls] if controls else None,
    }  # fmt: skip
    request = asked(options, preset=preset, picture=source, overrides=overrides or [])
    _told(done := load(model or _latest_champion("image")).answer(request), write(done, out))
    if source and (note := other_model(source, done)):
        _say(f"note: {note}")


def _told(done: Any, files: Sequence[Path]) -> None:
    """What was drawn, and where it lies."""
    if "confidence" in done.metadata:
        typer.echo(f"read as: {done.metadata['prompt']}  (confidence {done.metadata['confidence']:.2f})")
    for warning in done.metadata.get("warnings", ()):
        _say(f"note: {warning}")
    for path, facts in zip(files, done.metadata.get("pictures", [done.metadata]), strict=True):
        typer.echo(f"{path}  (seed {facts['seed']}, {done.seconds:.2f} s)")


@app.command()
def edit(
    changes: Annotated[
        list[str],
        typer.Argument(metavar="CHANGE...", help="expression=frown, or words=other words.", show_default=False),
    ],
    image: Annotated[
        Path | None, typer.Option(help="The picture; without one it is drawn first, from --prompt and --seed.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="What the picture shows; one of Kyara's says it itself.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Equal seeds give equal pictures.")] = None,
    strength: Annotated[float | None, typer.Option(help="How far a given picture is drawn anew.")] = None,
    mask: Annotated[str | None, typer.Option(help="Who says where: difference, attention, judge or none.")] = None,
    overrides: RequestFields = None,
    out: Annotated[Path, typer.Option(help="PNG file.")] = Path("out/edited.png"),
    model: PromotedFolder = None,
) -> None:
    """Change a character's expression, hair colour, clothes or background, and keep the rest."""
    from components.image.product import load
    from flows.generate import asked, changes_of, write

    options = {
        "mode": "edit", "change": changes_of(changes), "image": image, "prompt": prompt, "seed": seed,
        "strength": strength, "mask": mask,
    }  # fmt: skip
    request = asked(options, overrides=overrides or [])
    _told(done := load(model or _latest_champion("image")).answer(request), write(done, out))


@app.command()
def directions(
    source: Annotated[
        str,
        typer.Argument(help="A folder of captioned pictures, or a plug-in's examples: portraits.", show_default=False),
    ],
    count: Annotated[int, typer.Option(min=8, help="Pictures at most.")] = 400,
    method: Annotated[str, typer.Option(help="ridge, which keeps attributes apart, or mean.")] = "ridge",
    out: Annotated[
        Path | None, typer.Option(help="Default: where --set mode=sliders looks for them.", show_default=False)
    ] = None,
    model: PromotedFolder = None,
) -> None:
    """Learn sliders (expression, hair colour, whatever the captions tell) for the champion."""
    from components.image.generation.directions import METHODS
    from flows.directions import fit

    if method not in METHODS:
        raise RequestError(f"method {method!r} is unknown.", hint=f"Known: {', '.join(METHODS)}.")
    typer.echo(fit(source, model, out, count=count, method=METHODS[METHODS.index(method)]))


@app.command()
def interpolate(
    prompt: Annotated[str, typer.Argument(show_default=False)],
    to: KeyFrames = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Equal seeds give equal pictures.")] = None,
    frames: Annotated[int | None, typer.Option(help="Pictures in all, the keys among them.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="png (side by side), webp, gif or mp4.")] = None,
    overrides: RequestFields = None,
    out: Annotated[Path, typer.Option(help="Its suffix becomes that of the format.")] = Path("out/interpolated.png"),
    model: PromotedFolder = None,
) -> None:
    """Draw the way from one prompt, emotion or seed to others, in even steps."""
    from components.image.product import load
    from flows.generate import asked, key_frame, write

    options = {
        "mode": "interpolate", "prompt": prompt, "keys": [key_frame(text) for text in to or ()], "seed": seed,
        "frames": frames, "format": form,
    }  # fmt: skip
    request = asked(options, overrides=overrides or [])
    _told(done := load(model or _latest_champion("image")).answer(request), write(done, out))


@app.command()
def animate(
    prompt: Annotated[str, typer.Argument(show_default=False)],
    to: KeyFrames = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Equal seeds give equal pictures.")] = None,
    motion: Annotated[str | None, typer.Option(help="Of the head: nod or tilt.")] = None,
    frames: Annotated[int | None, typer.Option(help="Pictures in all.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second.")] = None,
    easing: Annotated[str | None, typer.Option(help="linear, in, out or in_out.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Play it once instead of for ever.")] = False,
    form: Annotated[str | None, typer.Option("--format", help="webp, gif, or mp4 (with imageio-ffmpeg).")] = None,
    overrides: RequestFields = None,
    out: Annotated[Path, typer.Option(help="Its suffix becomes that of the format.")] = Path("out/animated.webp"),
    model: PromotedFolder = None,
) -> None:
    """Draw a moving picture: through key frames, nodding or tilting its head, in a loop without a seam."""
    from components.image.product import load
    from flows.generate import asked, key_frame, write

    options = {
        "mode": "animate", "prompt": prompt, "keys": [key_frame(text) for text in to or ()] or None, "seed": seed,
        "motion": motion, "frames": frames, "fps": fps, "easing": easing, "loop": False if once else None,
        "format": form,
    }  # fmt: skip
    request = asked(options, overrides=overrides or [])
    _told(done := load(model or _latest_champion("image")).answer(request), write(done, out))


@app.command()
def grid(
    prompt: Annotated[str | None, typer.Argument(show_default=False)] = None,
    x: Annotated[str | None, typer.Option("--x", metavar="FIELD=A,B,…", help="Across: steps=1,2,4.")] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="FIELD=A,B,…", help="Down: guidance_scale=1,2.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to start from (image to image).")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="A PNG whose own settings are the base.")] = None,
    preset: Annotated[str | None, typer.Option(help="Saved settings (`kyara preset`).")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Any field of any mode: seed=3.")
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG file.")] = Path("out/grid.png"),
    model: Annotated[Path | None, typer.Option(help="A promoted model's folder; default: the latest champion.")] = None,
) -> None:
    """Draw any two settings against each other, as one picture with labels."""
    from components.image.product import load
    from flows.generate import asked
    from flows.grid import axis, draw

    for each in (x, y):
        axis(each)
    options = {"prompt": prompt, "image": image}
    base = asked(options, preset=preset, picture=source, overrides=overrides or [])
    made = draw(load(model or _latest_champion("image")), base, x, y, out)
    typer.echo(f"{out}  ({made.width}x{made.height})")


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


@app.command()
def prompts(
    text: Annotated[list[str], typer.Argument(metavar="TEXT | cache show | cache clear", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show how a prompt is read: its layers, what was corrected and why, and how sure that is."""
    from components.image.product import read_model
    from components.plugins import plugin
    from components.prompting.confidence import read_calibration
    from components.prompting.schema import PromptRequest
    from components.prompting.setup import make_generator, open_cache
    from flows.readings import describe

    if text[0] == "cache" and len(text) == 2 and text[1] in ("show", "clear"):
        cache = open_cache()
        typer.echo(cache.stats().model_dump_json(indent=2) if text[1] == "show" else f"{cache.clear()} dropped")
        return
    champion = None
    with contextlib.suppress(ModelError):  # none yet: the confidence is then of the reading alone
        champion = _latest_champion("image")
    calibration = read_calibration(champion) if champion else None
    name = read_model(champion).card.reader if champion else "portraits"
    generator = make_generator(plugin("reader", name) if name else None, calibration)
    if generator is None:
        raise RequestError(
            "the champion has no reader: its prompts reach it as typed.", hint="See `reader` of a recipe."
        )
    prompt = generator.generate(PromptRequest(text=" ".join(text)))
    typer.echo(prompt.model_dump_json(indent=2) if as_json else "\n".join(describe(prompt)))


@app.command()
def serve(
    tag: Annotated[str | None, typer.Argument(help="A Bento; default: the champion's.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Default: KYARA_SERVE_PORT, 3000.")] = None,
) -> None:
    """Serve the champion over HTTP on loopback until Ctrl-C."""
    from flows.server import serve as serve_here

    raise typer.Exit(serve_here(tag, port))


@app.command()
def ui() -> None:
    """Serve the Prefect and MLflow pages on loopback until Ctrl-C."""
    from flows.ui import pages

    for address in pages():
        typer.echo(address)


@app.command()
def worker() -> None:
    """Work on queued and scheduled runs until Ctrl-C; needs the server of `kyara ui`."""
    from flows.deployments import work

    raise typer.Exit(work())


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="quality, prompts, outside or modes")],
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

    known = sorted(file.stem for file in (Path(__file__).parent / "bench").glob("[!_]*.py"))
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
    typer.echo(f"version {promotion.version} is the champion of {recipe}: {promotion.folder}")
    typer.echo("A service that watches the folder takes it up; another serves it when it is started again.")


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """What this machine has, what is missing, and what to do about it."""
    from flows.doctor import examine, show

    findings = examine()
    show(findings, as_json=as_json)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def _latest_champion(modality: str) -> Path:
    """The champion of a modality that was promoted last, of any recipe."""
    from components.artifact import latest_champion

    champion = latest_champion(settings().models_dir, modality)
    if champion is None:
        raise ModelError(f"no model was promoted in {str(settings().models_dir)!r}.", hint="Make one: `kyara demo`.")
    return champion


if __name__ == "__main__":
    main()

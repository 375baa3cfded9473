"""Pictures from the champion, and how its prompts are read."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from components.errors import ModelError, RequestError
from flows.commands.shared import KeyFrames, PromotedFolder, RequestFields, app, latest_champion, say


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
    _told(done := load(model or latest_champion("image")).answer(request), write(done, out))
    if source and (note := other_model(source, done)):
        say(f"note: {note}")


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
    _told(done := load(model or latest_champion("image")).answer(request), write(done, out))


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
    _told(done := load(model or latest_champion("image")).answer(request), write(done, out))


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
    _told(done := load(model or latest_champion("image")).answer(request), write(done, out))


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
    made = draw(load(model or latest_champion("image")), base, x, y, out)
    typer.echo(f"{out}  ({made.width}x{made.height})")


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
        champion = latest_champion("image")
    calibration = read_calibration(champion) if champion else None
    name = read_model(champion).card.reader if champion else "portraits"
    generator = make_generator(plugin("reader", name) if name else None, calibration)
    if generator is None:
        raise RequestError(
            "the champion has no reader: its prompts reach it as typed.", hint="See `reader` of a recipe."
        )
    prompt = generator.generate(PromptRequest(text=" ".join(text)))
    typer.echo(prompt.model_dump_json(indent=2) if as_json else "\n".join(describe(prompt)))


def _told(done: Any, files: Sequence[Path]) -> None:
    """What was drawn, and where it lies."""
    if "confidence" in done.metadata:
        typer.echo(f"read as: {done.metadata['prompt']}  (confidence {done.metadata['confidence']:.2f})")
    for warning in done.metadata.get("warnings", ()):
        say(f"note: {warning}")
    for path, facts in zip(files, done.metadata.get("pictures", [done.metadata]), strict=True):
        typer.echo(f"{path}  (seed {facts['seed']}, {done.seconds:.2f} s)")

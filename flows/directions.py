"""`kyara directions`: sliders for a promoted model, learnt from labelled pictures.

The pictures are a folder's, with captions beside them, or those of an `examples` plug-in. Labels are what the model's
reader makes of the captions.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image, ImageOps

from components.artifact import latest_champion
from components.errors import DataError, ModelError
from components.image.decoding import own_limits
from components.image.generation.directions import Directions, Method, learn
from components.image.product import read_model
from components.plugins import plugin
from components.prompting.generator import RobustPromptGenerator
from components.prompting.schema import MAX_REQUEST, PromptRequest
from components.prompting.setup import make_generator
from components.runlog import ConsoleLog
from components.settings import settings

Labelled = tuple[Image.Image, Sequence[str]]
_MAX_PIXELS = 100_000_000
_BATCH = 16


def fit(source: str, model: Path | None, out: Path | None, *, count: int, method: Method, seed: int = 0) -> Path:
    """Learn directions and save them; returns the file.

    Args:
        source: a folder, or the name of an `examples` plug-in.
        model: a promoted model's folder; None: the latest champion.
        out: None: where the mode `sliders` looks for this model's.
        count: pictures at most.

    Raises:
        ModelError: no such model, or one without a reader.
        DataError: the pictures tell too little.
    """
    import torch

    from components.image.families.bundle import load_bundle
    from components.image.generation.latent_editor import to_pixels

    folder = model or latest_champion(settings().models_dir, "image")
    if folder is None:
        raise ModelError(f"no model was promoted in {str(settings().models_dir)!r}.", hint="Make one: `kyara demo`.")
    promoted = read_model(folder)
    card = promoted.card
    reader = None if card.reader is None else make_generator(plugin("reader", card.reader), None)
    if reader is None:
        raise ModelError(f"model {card.name!r} has no reader: nothing says what captions mean.", hint="See `reader`.")
    bundle = load_bundle(promoted.base)
    latents, labels = [], []
    with ConsoleLog("directions") as log:
        found = islice(labelled(source, card.model.resolution, count, seed, log), count)
        while some := list(islice(found, _BATCH)):
            pictures, captions = zip(*some, strict=True)
            latents.append(bundle.encode_images(to_pixels(pictures)).cpu())
            labels += [told(each, reader) for each in captions]
            log.progress(len(labels), count, unit="picture")
    if not labels:
        raise DataError(f"{source!r} holds no picture.", hint="Name a folder of captioned pictures.")
    learnt: Directions = learn(torch.cat(latents), labels, base=card.name, method=method)
    file = out or settings().sliders_dir / f"{card.name}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    learnt.save(file)
    return file


def told(captions: Iterable[str], reader: RobustPromptGenerator) -> dict[str, str]:
    """Attribute -> value, of all captions of one picture; the first that tells an attribute wins."""
    labels: dict[str, str] = {}
    for caption in filter(str.strip, captions):
        labels = {**reader.generate(PromptRequest(text=caption[:MAX_REQUEST])).draft.asked, **labels}
    return labels


def labelled(source: str, side: int, count: int, seed: int, log: ConsoleLog) -> Iterator[Labelled]:
    """Square pictures of `side` pixels with their captions. Raises DataError, RecipeError."""
    if not settings().resolve(source).is_dir():
        for example in plugin("examples", source).draw(count, seed, side):
            yield example.picture, example.captions
        return
    yield from _of_folder(settings().resolve(source), side, log)


def _of_folder(folder: Path, side: int, log: ConsoleLog) -> Iterator[Labelled]:
    from components.image.dataset.captions import METADATA, metadata_caption, read_metadata, sidecar_caption
    from components.image.dataset.clean import find_files
    from components.image.dataset.picture import Dropped, read_picture

    rows = read_metadata(folder / METADATA) if (folder / METADATA).is_file() else {}
    for name in find_files(folder, log):
        caption = metadata_caption(rows.get(name, {})) or sidecar_caption(folder / name)
        with own_limits():
            picture = read_picture(folder / name, name, min_side=1, max_pixels=_MAX_PIXELS, background=(255, 255, 255))
        if isinstance(picture, Dropped):
            log.warn(f"{name} is left out: {picture.detail}")
        elif caption:
            yield ImageOps.fit(picture, (side, side), Image.Resampling.LANCZOS), [caption]

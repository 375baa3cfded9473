"""The pictures of a model card: the gallery that was measured, or a few drawn now."""

import io
from pathlib import Path

from PIL import Image

from components import artifact
from components.artifact import write_bytes
from components.errors import KyaraError
from components.image.product import PromotedModel
from components.image.promptset import load as load_prompts
from components.settings import settings

FILE = "samples.png"
COUNT, ACROSS = 8, 4
GALLERY = "grids/gallery.png"


def write_samples(model: PromotedModel, prompts: str | None, out: Path) -> None:
    """`samples.png` into `out`: equal seeds, nothing picked.

    Args:
        prompts: folder of prompt sets, whose gallery or report set is asked; None: the trigger word alone.
    """
    measured = _measured(model)
    if measured is not None:
        write_bytes(out / FILE, measured.read_bytes())
        return
    from components.image.generation.canvas import png
    from components.image.generation.request import GenerateRequest
    from components.image.generator import ImageGenerator
    from components.image.sheets import grid

    generator = ImageGenerator.load(model.folder)
    pictures = []
    for seed, prompt in enumerate(_prompts(model, prompts)):
        content = generator.answer(GenerateRequest(prompt=prompt, seed=seed)).content
        with Image.open(io.BytesIO(content)) as picture:
            pictures.append(picture.convert("RGB"))
    write_bytes(out / FILE, png(grid(pictures, ACROSS)))


def _measured(model: PromotedModel) -> Path | None:
    """The gallery of the evaluation that this very model passed; None where it is gone."""
    folder = settings().artifacts / model.card.name / "evaluate"
    try:
        same = artifact.open_sealed(folder).digest == model.card.parents.get("evaluate")
    except KyaraError:
        return None
    return folder / GALLERY if same and (folder / GALLERY).is_file() else None


def _prompts(model: PromotedModel, folder: str | None) -> list[str]:
    if folder is not None:
        place = settings().resolve(folder)
        for name in ("gallery", "report"):
            if (place / f"{name}.json").is_file():
                return [item.prompt for item in load_prompts(place, name, COUNT)]
    return [model.card.trigger] * COUNT

"""Pictures for requests, and those in answers."""

import io

import numpy as np
from PIL import Image

from components.image.generation.pictures import Picture, picture_of


def base64_of(image: Image.Image, kind: str = "PNG", **options: object) -> Picture:
    """As a request carries it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return picture_of(buffer.getvalue())


def gradient(size: tuple[int, int] = (32, 32)) -> Image.Image:
    """Grey, from black at the top to white."""
    rows = np.linspace(0, 255, size[1], dtype=np.uint8)[:, None, None]
    return Image.fromarray(np.broadcast_to(rows, (size[1], size[0], 3)).copy())


def noisy(size: tuple[int, int] = (32, 32)) -> Image.Image:
    """Every pixel another colour."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def picture_in(done: object) -> Image.Image:
    """An answer's picture, decoded."""
    image = Image.open(io.BytesIO(done.content))  # type: ignore[attr-defined]
    image.load()
    return image


def seen(done: object) -> np.ndarray:
    """Its pixels [H, W, 3] as integers."""
    return np.asarray(picture_in(done)).astype(int)

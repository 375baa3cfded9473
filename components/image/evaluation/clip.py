"""A judge for real models, `judge: {plugin: clip, folder: …}`: does a picture fit its prompt, and is it the character?

alignment   cosine between a picture and its prompt in CLIP's space (CLIPScore without its weight, arXiv 2104.08718)
likeness    how near a picture comes to the training pictures: 1 as near as those come to each other, 0 as two of them
            that are picked at random

It knows no aspects and no styles, so adherence and style are left out, and KID and copying for want of a reference.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from components.artifact import digest_of
from components.contracts import Verdict
from components.errors import ModelError
from components.image.families.bundle import pick_device
from components.statistics import Floats

# Of the released CLIP models (arXiv 2103.00020); a folder's preprocessor_config.json says nothing else for any of them.
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipJudge:
    """See `components.contracts.Judge`."""

    def __init__(self, model: Any, tokenizer: Any, digest: str) -> None:
        self.model, self.tokenizer, self.digest = model.eval(), tokenizer, digest

    @property
    def facts(self) -> Mapping[str, float | str]:
        return {}

    @torch.inference_mode()
    def look(self, images: Sequence[Image.Image], batch: int = 32) -> Verdict:
        parts = [self._embed(images[start : start + batch]) for start in range(0, len(images), batch)]
        return Verdict(np.concatenate(parts))

    def hits(self, verdict: Verdict, asked: Sequence[Mapping[str, str]], *styles: str) -> Mapping[str, Floats]:
        return {}

    def styled(self, verdict: Verdict, style: str) -> Floats:
        return np.full(len(verdict.features), np.nan)

    @torch.inference_mode()
    def scores(self, verdict: Verdict, texts: Sequence[str], training: Floats) -> Mapping[str, Floats]:
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        wanted = _unit(self.model.get_text_features(**tokens.to(self.model.device)))
        return {"alignment": (verdict.features * wanted).sum(axis=1), "likeness": likeness(verdict.features, training)}

    def reference(self, style: str) -> Floats | None:
        return None

    def example(self, asked: Mapping[str, str], style: str, seed: int) -> None:
        return None

    def check_style(self, style: str) -> None:
        """Styles are the user's own words here."""

    def _embed(self, images: Sequence[Image.Image]) -> Floats:
        side = int(self.model.config.vision_config.image_size)
        pixels = np.stack([np.asarray(_square(image, side), np.float32) / 255 for image in images])
        scaled = (pixels - np.asarray(MEAN, np.float32)) / np.asarray(DEVIATION, np.float32)
        planes = torch.from_numpy(scaled).permute(0, 3, 1, 2).to(self.model.device)
        return _unit(self.model.get_image_features(pixel_values=planes))


def likeness(pictures: Floats, training: Floats) -> Floats:
    """How near pictures [N, D] come to training pictures [M, D] (unit vectors): 1 as near as those are to each other.

    0 is the mean cosine between two of them; NaN where there are fewer than three, or all are equal.
    """
    if len(training) < 3:
        return np.full(len(pictures), np.nan)
    among = training @ training.T
    apart = float(among[~np.eye(len(training), dtype=bool)].mean())
    np.fill_diagonal(among, -np.inf)
    together = float(among.max(axis=1).mean())
    nearest = (pictures @ training.T).max(axis=1)
    return (nearest - apart) / (together - apart) if together > apart else np.full(len(pictures), np.nan)


def open_judge(config: Any, inputs: Mapping[str, Path]) -> ClipJudge:
    """A CLIP model from a folder, or from the hub by its id. Raises ModelError."""
    from transformers import CLIPModel, CLIPTokenizer

    if config.folder is None:
        raise ModelError("the judge clip needs a model.", hint="Set judge.folder to a folder or a hub id of CLIP.")
    folder = inputs["judge"]
    name = str(folder) if folder.is_dir() else config.folder
    try:
        model = CLIPModel.from_pretrained(name, use_safetensors=True).to(pick_device())
        tokenizer = CLIPTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ModelError(f"CLIP {name!r} cannot be loaded: {error}.", hint="Name a folder, or a hub id.") from error
    digest = digest_of(folder) if folder.is_dir() else hashlib.sha256(name.encode()).hexdigest()
    return ClipJudge(model, tokenizer, digest)


def _square(image: Image.Image, side: int) -> Image.Image:
    """The middle of the picture at CLIP's size."""
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return resized.crop((left, top, left + side, top + side))


def _unit(output: Any) -> Floats:
    """Features [N, D] as unit vectors; newer transformers wrap them."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return np.asarray(torch.nn.functional.normalize(features.float(), dim=-1).cpu(), np.float64)

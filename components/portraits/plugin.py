"""What recipes plug in as `judge: {plugin: portraits}`: the portraits' judge behind the factory's protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from components.contracts import Verdict
from components.errors import DataError, ModelError, RecipeError
from components.plugins import resolve
from components.portraits import judge as portraits
from components.portraits.adherence import attribute_hits, style_hits
from components.portraits.judge import Judge
from components.portraits.lines import line_maps
from components.portraits.vocabulary import STYLES
from components.statistics import Floats


@dataclass(frozen=True)
class Seen:
    """What the judge saw, and in which pictures: their lines are read where a score asks for them."""

    verdict: portraits.Verdict
    pictures: portraits.Pictures


class PortraitJudge:
    """See `components.contracts.Judge`. Aspects are the attributes of the vocabulary, styles its styles."""

    def __init__(self, judge: Judge, reference: Path | None = None) -> None:
        self.judge, self._reference = judge, reference

    @property
    def digest(self) -> str:
        return self.judge.digest

    @property
    def facts(self) -> Mapping[str, float | str]:
        worst, where = self.judge.worst
        return {"mean_accuracy": self.judge.mean_accuracy, "worst": worst, "worst.name": where}

    def look(self, images: Any) -> Verdict:
        """Pictures of any size."""
        seen = self.judge.look(images)
        return Verdict(np.asarray(seen.features, np.float64), Seen(seen, images))

    def hits(self, verdict: Verdict, asked: Sequence[Mapping[str, str]], *styles: str) -> Mapping[str, Floats]:
        return attribute_hits(asked, verdict.seen.verdict.attributes, *styles)

    def where(self, image: Image.Image, asked: Mapping[str, str]) -> Floats:
        return np.asarray(self.judge.saliency(image, asked), np.float64)

    def styled(self, verdict: Verdict, style: str) -> Floats:
        return style_hits(verdict.seen.verdict.style, style)

    def scores(self, verdict: Verdict, texts: Sequence[str], training: Floats) -> Mapping[str, Floats]:
        """`soundness` (components.portraits.world.soundness): 1 for a held-out render, 0 for a wrong one."""
        # By its name: a service takes this judge along to choose among pictures, and draws no renders.
        measure = resolve("components.portraits.world.soundness:of_verdict")
        maps = line_maps(verdict.seen.pictures, self.judge.size)
        return {"soundness": measure(self.judge, verdict.seen.verdict, maps).scores()}

    def example(self, asked: Mapping[str, str], style: str, seed: int) -> Any:
        """A render: what the style can show of it, the rest by the seed."""
        return resolve("components.portraits.world.renders:meant")(asked, style, seed)

    def reference(self, style: str) -> Floats | None:
        if self._reference is None:
            return None
        path = self._reference / f"{style}.safetensors"
        try:
            return np.asarray(load_file(path)["features"], np.float64)
        except (OSError, KeyError, ValueError) as error:
            hint = "Run `dvc pull`, or set judge.reference to null."
            raise DataError(f"reference features {str(path)!r} cannot be read: {error}.", hint=hint) from error

    def check_style(self, style: str) -> None:
        if style not in STYLES:
            raise RecipeError(
                f"style {style!r} is not in the vocabulary.", hint=f"Expected one of: {', '.join(STYLES)}."
            )


def open_judge(config: Any, inputs: Mapping[str, Path]) -> PortraitJudge:
    """The judge in the folder that the recipe names. Raises ModelError."""
    if "judge" not in inputs:
        raise ModelError("the portraits' judge needs its folder.", hint="Set judge.folder, to data/judge for instance.")
    return PortraitJudge(Judge.load(inputs["judge"]), inputs.get("reference"))

"""A toy modality, whose model is the most frequent letters of a text: recipe and stages; the product lies beside."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from components.contracts import RunLog
from components.recipe import Frozen, Recipe, StepConfig


class DatasetSection(Frozen):
    source: str


class DatasetConfig(StepConfig, DatasetSection):
    def sources(self) -> dict[str, str]:
        return {"data": self.source}


class TrainSection(Frozen):
    letters: int = 3


class TrainConfig(StepConfig, TrainSection):
    pass


class ToyRecipe(Recipe):
    configs: ClassVar[Mapping[str, type[StepConfig]]] = {
        "dataset": DatasetConfig, "train": TrainConfig, "evaluate": StepConfig,
    }  # fmt: skip
    modality: Literal["toy"]
    dataset: DatasetSection
    train: TrainSection = TrainSection()
    evaluate: Frozen = Frozen()


def dataset(config: DatasetConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    (out / "text.txt").write_text(inputs["data"].read_text(encoding="utf-8").lower(), encoding="utf-8")


def train(config: TrainConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    common = Counter((inputs["dataset"] / "text.txt").read_text(encoding="utf-8")).most_common(config.letters)
    (out / "letters.json").write_text(json.dumps([letter for letter, _ in common]), encoding="utf-8")


def evaluate(config: StepConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    metrics: dict[str, Any] = {"letters": len(json.loads((inputs["train"] / "letters.json").read_text()))}
    (out / "metrics.json").write_text(json.dumps({**metrics, "judge.digest": "toy", "prompts.digest": "toy"}))

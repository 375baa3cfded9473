"""What the toy makes of its stages: a folder with its letters, which answers a request with the first few of them."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.artifact import Artifact, open_sealed, replacing, seal
from components.contracts import Done, Preview
from components.recipe import Frozen, StepConfig

MEDIA_TYPE, REGISTERED, REQUIREMENTS, PICTURES, HEADLINES = "text/plain", (), (), (), (("letters", "kept", "1"),)


class Request(Frozen):
    count: int = 1


ROUTES, APIS = {"/letters": Request}, ()


def assemble(recipe: Any, outputs: Mapping[str, Path], out: Path, *, version: str, parents: Any) -> Artifact:
    with replacing(out) as folder:
        folder.mkdir()
        shutil.copyfile(outputs["train"] / "letters.json", folder / "letters.json")
        (folder / "card.json").write_text(json.dumps({"name": recipe.name, "version": version}))
        seal(folder, "toy", dict(parents))
    return open_sealed(out)


class Letters:
    parallel = 1
    counters: Mapping[str, int] = {}

    def __init__(self, folder: Path) -> None:
        self.card = {
            **json.loads((folder / "card.json").read_text()),
            "digest": open_sealed(folder, verify=True).digest,
        }
        self.letters: list[str] = json.loads((folder / "letters.json").read_text())

    def run(self, request: Request, *, previews: bool = False) -> Iterator[Preview | Done]:
        yield Preview(1, 1)
        yield Done("".join(self.letters[: request.count]).encode(), MEDIA_TYPE, {"seed": 0})

    def reading(self, prompt: str, negative: str = "") -> Mapping[str, Any]:
        return {"text": prompt, "negative": negative}

    def parts(self) -> Mapping[str, tuple[str, ...]]:
        return {}


def load(folder: Path, options: Mapping[str, Any] | None = None) -> Letters:
    return Letters(folder)


def measured_again(recipe: Any, folder: Path) -> tuple[StepConfig, Mapping[str, Path]]:
    return recipe.step("evaluate"), {"train": folder}


def example(recipe: Any) -> dict[str, Any]:
    return {"count": 2}


def plugins(folder: Path) -> tuple[str, ...]:
    return ()

"""A tiny promoted model, and its commands."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifact import point
from components.settings import settings
from flows import cli
from tests.components.image.generation.pictures import noisy
from tests.promoted import home as a_home
from tests.promoted import tiny_version


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory):
    """A home with a champion."""
    with a_home(tmp_path_factory.mktemp("home")) as folder:
        point(tiny_version(settings().models_dir, "1").parent, "1")
        yield folder


@pytest.fixture
def kyara(promoted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a command in a folder of its own; returns its exit code, output and errors."""
    monkeypatch.setenv("KYARA_HOME", str(promoted))
    settings.cache_clear()
    monkeypatch.chdir(tmp_path)
    noisy().save("given.png")
    mask = np.zeros((32, 32), np.uint8)
    mask[4:20, 4:20] = 255
    Image.fromarray(mask).save("mask.png")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        out, err = capsys.readouterr()
        return (ended.value.code if isinstance(ended.value.code, int) else 0), out, err

    return run

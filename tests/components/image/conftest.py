"""A tiny promoted model in plain torch, for all tests of a package's module."""

import pytest

from components.image.generator import ImageGenerator
from tests.promoted import tiny_version


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory: pytest.TempPathFactory) -> ImageGenerator:
    """Read only; it has a reader and no judge."""
    return ImageGenerator.load(tiny_version(tmp_path_factory.mktemp("tiny-generator"), "1"), engine="eager")

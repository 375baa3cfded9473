"""What loading a model writes to the console, in a fresh process: the libraries say most things once."""

import os
import subprocess
import sys

from components.settings import REPOSITORY

LOAD = """
import torch
from components.image.families.bundle import load_bundle
from components.image.recipe import ModelConfig
bundle = load_bundle(ModelConfig(base="data/base"))
bundle.unet.to(torch.float16)
"""
WARN = """
from diffusers import DDIMScheduler
DDIMScheduler.from_config({**bundle.scheduler_config, "nonsense": 1})
import transformers
transformers.logging.get_logger("transformers.x").warning("a real warning")
"""


def stderr_of(code: str) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_VERBOSITY")}
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_loading_the_embedded_base_says_nothing() -> None:
    assert stderr_of(LOAD) == ""


def test_real_warnings_are_still_shown() -> None:
    said = stderr_of(LOAD + WARN)
    assert "nonsense" in said and "a real warning" in said

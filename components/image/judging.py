"""Opens the judge that a recipe plugs in."""

from collections.abc import Mapping
from pathlib import Path

from components.contracts import Judge
from components.image.recipe import JudgeConfig
from components.plugins import plugin


def open_judge(config: JudgeConfig, inputs: Mapping[str, Path]) -> Judge:
    """The judge, from the folders that a stage was given. Raises RecipeError, ModelError."""
    judge: Judge = plugin("judge", config.plugin)(config, inputs)
    for style in (config.style, *config.base_styles):
        if style:
            judge.check_style(style)
    return judge

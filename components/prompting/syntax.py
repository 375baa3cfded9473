"""What the field's programs read as commands in a prompt: weights, choices, breaks, calls of LoRA files."""

import re

_COMMANDS = re.compile(
    r"""
    <[a-z]+:[^<>]*>             # <lora:name:0.8>, <hypernet:name:1>
  | \([^()]*:\s*\d*\.?\d+\s*\)  # (words:1.2)
  | \(\(|\[[^\[\]]+\]|\{[^{}]+\}  # ((words)), [words], [a|b], {a|b}
  | \\[()\[\]]                 # a bracket that is a letter: saber \(fate\)
  | \bBREAK\b|\bAND\b|__\w+__|--\w+
    """,
    re.VERBOSE,
)


def has_commands(text: str) -> bool:
    """Whether a service that puts the prompt into its own words would break what the user commands."""
    return _COMMANDS.search(text) is not None

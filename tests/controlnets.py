"""Tiny ControlNets."""

import json
from pathlib import Path

from tests.tiny import tiny_model


def loud_controlnet(base: Path, folder: Path, kind: str | None = None, seed: int = 0) -> Path:
    """A ControlNet whose convolutions of zeros are not: what it adds is seen."""
    import torch

    from components.image.families.bundle import load_bundle
    from components.image.generation.control import CARD, READER
    from components.image.generation.control.keypoints import KeypointNetwork, KeypointReader
    from components.image.generation.control.networks import make_controlnet, save_controlnet
    from components.image.generation.control.shelf import base_digest

    net = make_controlnet(load_bundle(tiny_model(base)), seed)
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.named_parameters():
        if name.startswith("controlnet_"):
            value.data.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    save_controlnet(net, folder)
    if kind is not None:
        (folder / CARD).write_text(json.dumps({"kind": kind, "base": base_digest(str(base))}), encoding="utf-8")
    if kind == "pose":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            KeypointReader(KeypointNetwork()).save(folder / READER)
    return folder

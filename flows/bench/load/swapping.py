"""What another LoRA costs a request, and that none fails meanwhile."""

import io
import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from flows.bench.load.clients import Ask, Client

NAMES = ("bench_one", "bench_two")
RANK, SIZE = 4, 0.01
MODULES = ("to_q", "to_k", "to_v")
PATIENCE = 60.0


def make_loras(base: str, folder: Path) -> None:
    """Two small LoRAs of random weights for a base, in peft's form."""
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(base, subfolder="unet"))
    layers = {name: layer for name, layer in unet.named_modules() if name.endswith(MODULES)}
    for seed, name in enumerate(NAMES):
        state, generator = {}, torch.Generator().manual_seed(seed)
        for layer, module in layers.items():
            sides = {"lora_A": (RANK, module.in_features), "lora_B": (module.out_features, RANK)}
            for part, shape in sides.items():
                state[f"base_model.model.{layer}.{part}.weight"] = SIZE * torch.randn(shape, generator=generator)
        (folder / name).mkdir(parents=True, exist_ok=True)
        save_file(state, folder / name / "adapter_model.safetensors")
        (folder / name / "adapter_config.json").write_text(json.dumps({"lora_alpha": RANK, "r": RANK}), "utf-8")


def measure(port: int, ask: Ask, count: int) -> dict[str, Any]:
    """`swap_ms`, `swap_cold_ms` and `swap.statuses`; of `count` requests each."""
    client, statuses = Client(port), Counter[int]()

    def timed(number: int, lora: str | None) -> tuple[float, str]:
        began = time.perf_counter()
        answer = client.post("/generate", {**ask(number), **({"loras": {lora: 1.0}} if lora else {})})
        statuses[answer.status] += 1
        return 1000 * (time.perf_counter() - began), _engine(answer.content) if answer.status == 200 else ""

    def usual(lora: str | None) -> float:
        return statistics.median(timed(number, lora)[0] for number in range(count))

    without, engine = usual(None), timed(0, None)[1]
    cold = timed(0, NAMES[0])[0]
    for name in NAMES:
        until = time.monotonic() + PATIENCE
        while timed(0, name)[1] != engine and time.monotonic() < until:
            time.sleep(0.1)
    stays = statistics.median([usual(NAMES[0]), usual(NAMES[1])])
    swaps = statistics.median(timed(number, NAMES[number % 2])[0] for number in range(2 * count))
    client.close()
    return {
        "swap_ms": swaps - stays,
        "swap_cold_ms": cold - without,
        "swap.statuses": {str(status): number for status, number in sorted(statuses.items())},
    }


def _engine(png: bytes) -> str:
    """What a picture says it was drawn by."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return str(json.loads(str(image.info["kyara"]))["engine"])

"""The server that a user would write: a diffusers pipeline in plain torch behind FastAPI, one picture at a time.

    python -m flows.bench.load.plain_server FOLDER PORT [--student]

FOLDER is a promoted model's. The base with the character's LoRA fused, 20 steps with guidance; `--student`: the
distilled model, as many steps as it is served with.
"""

import argparse
import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STEPS, GUIDANCE = 20, 7.5


def load_pipeline(folder: Path, *, student: bool) -> tuple[Any, dict[str, Any]]:
    """The pipeline, and what it is called with."""
    import torch
    from diffusers import DiffusionPipeline, LCMScheduler, UNet2DConditionModel

    from components.image.lora import fuse
    from components.image.product import LCM, LORA, read_model
    from components.settings import settings

    promoted = read_model(folder)
    card, full = promoted.card, student and promoted.card.mode == "full"
    pipeline: Any = DiffusionPipeline.from_pretrained(str(settings().resolve(promoted.base.base)), dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    side = card.model.resolution
    asked: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "height": side, "width": side}
    if not full:
        fuse(pipeline.unet, promoted.folder / LORA, 1.0)
    if student:
        if full:
            weights = str(promoted.folder / LCM / "unet")
            pipeline.unet = UNet2DConditionModel.from_pretrained(weights, torch_dtype=torch.float32)
        elif card.mode == "lora":
            fuse(pipeline.unet, promoted.folder / LCM / "lcm_lora", 1.0)
        pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
        asked |= {"num_inference_steps": card.steps, "guidance_scale": 4.0 if full else 1.0}
    return pipeline, asked


def application(folder: Path, *, student: bool = False) -> Any:
    """POST /generate with `prompt` and `seed` -> PNG; GET /readyz."""
    import torch
    from fastapi import FastAPI, Response
    from pydantic import BaseModel

    pipeline, asked = load_pipeline(folder, student=student)
    lock = threading.Lock()
    app = FastAPI()

    class Request(BaseModel):
        """What is asked."""

        prompt: str
        seed: int = 0

    def generate(request: Request) -> Response:
        generator = torch.Generator().manual_seed(request.seed)
        with lock:
            image = pipeline(request.prompt, generator=generator, **asked).images[0]
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return Response(buffer.getvalue(), media_type="image/png")

    def ready() -> str:
        return "ready"

    app.post("/generate")(generate)
    app.get("/readyz")(ready)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM."""
    import uvicorn

    from flows.ports import HOST

    parser = argparse.ArgumentParser(prog="python -m flows.bench.load.plain_server", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--student", action="store_true")
    given = parser.parse_args(arguments)
    uvicorn.run(application(given.folder, student=given.student), host=HOST, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()

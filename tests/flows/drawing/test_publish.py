"""What `kyara publish` leaves is loaded by diffusers as it stands, and draws what the champion draws."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifact import MANIFEST, point, seal
from components.settings import settings
from flows.publish import publish
from tests.promoted import home, tiny_version
from tests.tiny import RESOLUTION


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with home(tmp_path_factory.mktemp("published")) as folder:
        (folder / "data").mkdir()
        (folder / "data" / "ATTRIBUTION.md").write_text("CC0 1.0", encoding="utf-8")
        made = tiny_version(settings().models_dir, "1")
        facts = {"license": "CC0 1.0", "rank": 4, "base": str(folder / "data" / "base")}
        (made / "anime-lora-final" / "metadata.json").write_text(json.dumps(facts))
        (made / "anime-lora-final" / "kohya.safetensors").write_bytes(b"kohya")
        (made / MANIFEST).unlink()
        seal(made, "test", {})
        point(made.parent, "1")
        yield publish("tiny", license="CC0-1.0").folder


def test_diffusers_loads_the_lora_as_the_card_says(published: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    from components.image.families.bundle import load_bundle
    from components.image.lora import fuse
    from components.image.product import read_model

    pipeline = StableDiffusionPipeline.from_pretrained(published / "base").to(torch.float32)
    inputs = (torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.randn(1, 7, 32))
    plain = pipeline.unet(*inputs).sample
    pipeline.load_lora_weights(published, weight_name="pytorch_lora_weights.safetensors")
    loaded = pipeline.unet(*inputs).sample
    model = read_model(settings().models_dir / "image" / "tiny" / "1")
    bundle = load_bundle(model.base)
    fuse(bundle.unet, model.folder / "anime-lora-final")
    assert torch.allclose(loaded, bundle.unet(*inputs).sample, atol=1e-4)
    assert not torch.allclose(loaded, plain, atol=1e-3)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")  # of two LoRAs, which are meant
def test_diffusers_draws_with_the_student(published: Path) -> None:
    import torch
    from diffusers import LCMScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(published / "base").to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(published, weight_name="pytorch_lora_weights.safetensors", adapter_name="character")
    pipeline.load_lora_weights(
        published / "student", weight_name="pytorch_lora_weights.safetensors", adapter_name="fast"
    )
    pipeline.set_adapters(["character", "fast"])
    pipeline.scheduler = LCMScheduler.from_pretrained(published / "student" / "scheduler")
    assert pipeline.scheduler.config.original_inference_steps == 50
    side = {"height": RESOLUTION, "width": RESOLUTION}
    drawn = pipeline("kyarachar", num_inference_steps=4, guidance_scale=1.0, **side).images[0]
    assert drawn.size == (RESOLUTION, RESOLUTION) and np.asarray(drawn).std() > 0


def test_the_samples_are_drawn_by_the_champion(published: Path) -> None:
    with Image.open(io.BytesIO((published / "samples.png").read_bytes())) as samples:
        assert samples.size == (4 * RESOLUTION, 2 * RESOLUTION)
    assert "![Samples](samples.png)" in (published / "README.md").read_text(encoding="utf-8")

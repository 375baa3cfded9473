"""The model card: README.md with the YAML front matter that the hub reads. The text is templates/model_card.md."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.image.product import PromotedModel
from flows.publishing.licences import Licence
from flows.publishing.samples import FILE as SAMPLES
from flows.publishing.weights import BASE, STUDENT
from flows.report import TEMPLATES

TEMPLATE = "model_card.md"
ATTRIBUTION = "ATTRIBUTION.md"
# What a card shows, worst ones too; the rest lies in metrics.json.
SHOWN = ("soundness", "adherence", "balanced", "worst", "style", "copying", "copied_lines")
COMPARED = ("adherence_ratio", "soundness_ratio", "worst_ratio", "kid_gap")
MEANING = {
    "soundness": "how like a true picture by its lines (1: as like as another true one)",
    "adherence": "share of the asked attributes that a judge finds",
    "balanced": "the same, each value of each attribute counted alike",
    "worst": "the attribute that comes out least often",
    "style": "share of pictures in the style that was learnt",
    "copying": "share that repeats a training picture",
    "copied_lines": "share whose lines repeat those of a training picture",
    "adherence_ratio": "student over LoRA",
    "soundness_ratio": "student over LoRA",
    "worst_ratio": "student over LoRA, by the worst attribute",
    "kid_gap": "distance of the student's pictures from the LoRA's (0: none)",
}


@dataclass(frozen=True)
class Facts:
    """What the card says besides the model's own card and figures."""

    repo: str
    licence: Licence
    statement: str
    artist: str
    base: str
    attribution: bool
    with_base: bool
    trained: Mapping[str, Any]


def render(model: PromotedModel, facts: Facts, folder: Path) -> str:
    """README.md for the files in `folder`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    text = environment.get_template(TEMPLATE).render(
        card=model.card,
        facts=facts,
        rows=list(_rows(model)),
        samples=SAMPLES if (folder / SAMPLES).is_file() else None,
        pipeline="StableDiffusionXLPipeline" if model.card.model.family == "sdxl" else "StableDiffusionPipeline",
        student_unet=(folder / STUDENT / "unet").is_dir(),
        student_lora=(folder / STUDENT / "pytorch_lora_weights.safetensors").is_file(),
        student_scheduler=(folder / STUDENT / "scheduler").is_dir(),
        base_folder=BASE,
        digest=model.digest,
    )
    front = yaml.safe_dump(front_matter(model, facts, folder), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{text}"


def front_matter(model: PromotedModel, facts: Facts, folder: Path) -> dict[str, Any]:
    """What the hub indexes."""
    fast = () if model.card.mode == "none" else ("lcm",)
    found: dict[str, Any] = {
        "license": facts.licence.hub,
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", "diffusers", "lora", *fast, "anime", "kyara"],
        "instance_prompt": model.card.trigger,
    }
    if not (model.folder / BASE).is_dir():
        found["base_model"] = model.card.model.base
    if (folder / SAMPLES).is_file():
        found["widget"] = [{"text": model.card.trigger, "output": {"url": SAMPLES}}]
    return found


def _rows(model: PromotedModel) -> Iterator[dict[str, str]]:
    """Figures with their intervals, and what the worst one is."""
    metrics = model.metrics
    groups = {"lora": SHOWN, **({} if model.card.mode == "none" else {f"lcm{model.card.steps}": SHOWN})}
    for group, names in {**groups, "fidelity": COMPARED}.items():
        for name in names:
            key = f"{group}.{name}"
            if key in metrics:
                yield {"key": key, "value": _value(metrics, key), "meaning": MEANING[name]}
    if "speed.total" in metrics:
        value = f"{metrics['speed.total']:.1f}x"
        yield {
            "key": "speed.total",
            "value": value,
            "meaning": "over 20 steps with guidance in plain torch, measured where it was made",
        }


def _value(metrics: Mapping[str, Any], key: str) -> str:
    ends = metrics.get(f"{key}.interval")
    interval = f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else ""
    name = metrics.get(f"{key}.name")
    return f"{metrics[key]:.2f}{interval}{f', {name}' if name else ''}"

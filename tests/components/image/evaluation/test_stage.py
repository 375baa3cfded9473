"""The stage end to end on tiny random models: every key, every file, interrupted and resumed."""

import json
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from components.errors import DataError, RecipeError
from components.image.dataset.stage import prepare
from components.image.evaluation import drawing
from components.image.evaluation.stage import evaluate
from components.image.families.bundle import Bundle, load_bundle
from components.image.generation.latent import load_variant
from components.image.promptset import PromptItem
from components.image.recipe import DatasetConfig, EvaluateConfig
from components.portraits.judge import Judge, JudgeNetwork
from components.portraits.vocabulary import ATTRIBUTES, STYLES
from components.runlog import SilentLog
from components.settings import settings
from tests.tiny import tiny_model, tiny_sd15, tiny_sdxl

SMALL = {
    "count": 6, "other_count": 3, "lcm_steps": (1, 2, 4), "teacher_steps": 3, "batch_size": 4, "timing_runs": 3,
    "bootstrap": 100, "trigger": "kyara", "calibrate_count": 12, "short_count": 3,
}  # fmt: skip


JUDGE = {
    "plugin": "portraits", "folder": "judge", "reference": "reference", "style": "lorelei",
    "base_styles": ("adventurer", "micah"),
}  # fmt: skip


class Notes(SilentLog):
    """Remembers tables, metrics and bars."""

    def __init__(self) -> None:
        self.tables: dict[str, Sequence[Mapping[str, Any]]] = {}
        self.values: dict[str, float] = {}
        self.files: list[str] = []
        self.warned: list[str] = []
        self.bars: dict[str, list[tuple[int, int]]] = {}

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.tables[name] = rows

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.values.update(values)

    def file(self, path: Path, folder: str = "") -> None:
        assert path.is_file()
        self.files.append(f"{folder}/{path.name}")

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def progress(self, done: int, total: int, *, unit: str = "step", **fields: float) -> None:
        self.bars.setdefault(unit, []).append((done, total))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KYARA_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("KYARA_THREADS", "1")
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.fixture(scope="module")
def inputs(home: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset, adapters with random weights, an untrained judge, prompts and reference features."""
    return world(tmp_path_factory.mktemp("world"), tiny_sd15(v_prediction=True))


def world(folder: Path, base: Path) -> dict[str, Path]:
    generator = np.random.default_rng(0)
    (folder / "data").mkdir()
    (folder / "dataset").mkdir()
    for number in range(6):
        noise = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((40, 40), Image.Resampling.BICUBIC)
        picture.save(folder / "data" / f"{number}.png")
        (folder / "data" / f"{number}.txt").write_text(f"tag{number}, red hair", encoding="utf-8")
    config = DatasetConfig(source="data", model=tiny_model(base), min_side=16, trigger="kyara", validation_share=0.3)
    prepare(config, {"base": base, "data": folder / "data"}, folder / "dataset", SilentLog())
    adapter(base, folder / "train" / "anime-lora-final", 1)
    adapter(base, folder / "distill" / "lcm_distilled_model" / "lcm_lora", 2)
    facts = {"mode": "lora", "steps": 4, "guidance": 4.0, "base": str(base), "trigger": "kyara"}
    (folder / "distill" / "lcm_distilled_model" / "metadata.json").write_text(json.dumps(facts), encoding="utf-8")
    judge(folder / "judge")
    (folder / "prompts").mkdir()
    asked = {"hair_color": "red", "glasses": "yes", "clothes_color": "red"}
    prompts = [{"prompt": f"red hair, glasses, p{seed}", "attributes": asked, "seed": seed} for seed in range(8)]
    for name in ("calibrate", "report", "short"):
        content = json.dumps({"set": name, "prompts": prompts})
        (folder / "prompts" / f"{name}.json").write_text(content, encoding="utf-8")
    (folder / "reference").mkdir()
    features = generator.normal(size=(30, 16)).astype(np.float16)
    save_file({"features": features}, folder / "reference" / "lorelei.safetensors")
    names = ("dataset", "train", "distill", "judge", "prompts", "reference")
    return {"base": base, **{name: folder / name for name in names}}


def adapter(base: Path, folder: Path, seed: int) -> None:
    from peft import LoraConfig, get_peft_model

    unet = load_bundle(tiny_model(base)).unet
    torch.manual_seed(seed)
    model = get_peft_model(
        unet, LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    )
    model.save_pretrained(str(folder))


def judge(folder: Path) -> None:
    heads = {**{name: list(values) for name, values in ATTRIBUTES.items()}, "style": list(STYLES)}
    torch.manual_seed(3)
    network = JudgeNetwork(heads, width=8, features=16)
    folder.mkdir()
    save_torch(network.state_dict(), folder / "model.safetensors")
    facts = {"heads": heads, "size": 32, "width": 8, "features": 16, "accuracy": dict.fromkeys(heads, 0.5)}
    (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")


def run(inputs: Mapping[str, Path], out: Path, **changed: Any) -> tuple[dict[str, Any], Notes]:
    notes = Notes()
    out.mkdir(parents=True, exist_ok=True)
    usual = {"judge": JUDGE, "prompts": "prompts", "reader": "portraits", **SMALL}
    evaluate(EvaluateConfig(model=tiny_model(inputs["base"]), **{**usual, **changed}), inputs, out, notes)
    return json.loads((out / "metrics.json").read_text(encoding="utf-8")), notes


@pytest.fixture(scope="module")
def whole(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Notes, Path]:
    """An evaluation with everything, made once."""
    out = tmp_path_factory.mktemp("whole")
    return *run(inputs, out), out


SAMPLED = {
    "vae.psnr", "base.adherence", "lora.adherence", "lora.adherence_drop", "lora.style", "lora.copying",
    "lcm4.adherence", "lcm4.style", "fidelity.adherence_ratio", "fidelity.kid_gap", "fidelity.similarity",
    "lcm1.adherence", "lcm2.adherence", "base.style", "base.soundness", "lora.soundness", "lcm4.soundness",
    "vae.soundness", "vae.half_psnr", "short.adherence", "short.soundness", "lora.copied_lines", "lcm4.copied_lines",
}  # fmt: skip
MEASURED = {f"speed.{name}" for name in ("baseline_ms", "served_ms", "total", "algorithm", "engine")}


def test_every_key_file_and_table(inputs: dict[str, Path], whole: Any) -> None:
    metrics, notes, out = whole
    # An untrained judge may find nothing at all, and then there is no ratio.
    expected = SAMPLED - ({"fidelity.adherence_ratio"} if metrics["lora.adherence"] == 0 else set())
    assert expected | MEASURED | {"judge.mean_accuracy", "judge.digest", "prompts.digest"} <= metrics.keys()
    for name in expected:
        low, high = metrics[f"{name}.interval"]
        assert low <= high
    assert metrics["judge.digest"] == Judge.load(inputs["judge"]).digest
    assert metrics["speed.baseline_precision"] == "float32"
    assert metrics["speed.total"] == pytest.approx(metrics["speed.algorithm"] * metrics["speed.engine"])
    assert all(np.isfinite(value) for value in notes.values.values())
    for name in (
        "grids/base.png",
        "grids/lora.png",
        "grids/lcm4.png",
        "grids/compare.png",
        "grids/gallery.png",
        "grids/gallery-beside.png",
        "plots/steps.png",
        "plots/attributes.png",
    ):
        assert (out / name).is_file()
        assert f"{name.partition('/')[0]}/{Path(name).name}" in notes.files
    assert (out / "xy.png").is_file()
    rows = json.loads((out / "rows.json").read_text(encoding="utf-8"))
    assert [row["variant"] for row in rows] == ["base", "lora", "lcm1", "lcm2", "lcm4"]
    assert [row["pictures"] for row in rows] == [6, 6, 3, 3, 6]
    assert all(row.keys() == rows[0].keys() and row["latency_ms"] > 0 and row["peak_mib"] > 0 for row in rows)
    assert len(notes.tables["prompts"]) == 6
    assert notes.bars["picture"][-1] == (45, 45)


def test_interrupted_evaluation_goes_on(inputs: dict[str, Path], whole: Any, tmp_path: Path) -> None:
    first, _, done = whole
    (tmp_path / "b" / ".pictures").mkdir(parents=True)
    for name in ("base", "lora"):
        (tmp_path / "b" / ".pictures" / name).mkdir()
        for path in sorted((done / ".pictures" / name).glob("*.png"))[: 4 if name == "lora" else 6]:
            (tmp_path / "b" / ".pictures" / name / path.name).write_bytes(path.read_bytes())
    stamp = (tmp_path / "b" / ".pictures" / "base" / "00000.png").stat().st_mtime_ns
    second, notes = run(inputs, tmp_path / "b")
    assert notes.bars["picture"][0] == (6, 45)
    assert (tmp_path / "b" / ".pictures" / "base" / "00000.png").stat().st_mtime_ns == stamp
    sampled = [name for name in first if not name.startswith("speed.")]
    assert {name: first[name] for name in sampled} == {name: second[name] for name in sampled}


def test_scales_of_the_xy_grid(whole: Any) -> None:
    """1 is the LoRA itself, 0 the base asked with the trigger, and half lies between."""

    def pixels(name: str) -> np.ndarray:
        return np.asarray(Image.open(whole[2] / ".pictures" / name / "00000.png").convert("RGB"), np.int16)

    full, half, none = pixels("lora"), pixels("lora-scale-0.5"), pixels("lora-scale-0")
    assert 0 < np.abs(full - half).mean() < np.abs(full - none).mean()


def test_models_are_drawn_with_one_at_a_time(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[Any]] = []

    def load(*args: Any, **parts: Any) -> Bundle:
        assert not [unet for unet in loaded if unet() is not None], "the model before is still in memory"
        bundle = load_variant(*args, **parts)
        loaded.append(weakref.ref(bundle.unet))
        return bundle

    monkeypatch.setattr(drawing, "load_variant", load)
    config = EvaluateConfig(model=tiny_model(inputs["base"]), **SMALL)
    lora, lcm = inputs["train"] / "anime-lora-final", inputs["distill"] / "lcm_distilled_model"
    columns = drawing.variants(config)
    drawing.draw_all(config, columns, [PromptItem("a", {}, 0)] * config.count, lora, lcm, tmp_path, SilentLog())
    assert len(loaded) == 4


def test_without_judge_and_prompts(inputs: dict[str, Path], tmp_path: Path) -> None:
    """What a user with pictures of their own and nothing else gets."""
    bare = {name: path for name, path in inputs.items() if name not in ("judge", "prompts", "reference")}
    metrics, notes = run(bare, tmp_path, judge=None, prompts=None, reader=None)
    assert metrics["judge.digest"] is None
    assert {"fidelity.similarity", "vae.psnr", "lcm1.similarity"} | MEASURED <= metrics.keys()
    assert not any(name.endswith((".adherence", ".kid", ".style", ".copying")) for name in metrics)
    assert any("no judge" in text for text in notes.warned)
    assert (tmp_path / "grids" / "compare.png").is_file()


def test_without_reference_features(inputs: dict[str, Path], tmp_path: Path) -> None:
    bare = {name: path for name, path in inputs.items() if name != "reference"}
    metrics, _ = run(bare, tmp_path, judge={**JUDGE, "reference": None}, lcm_steps=(4,))
    assert "lora.adherence" in metrics
    assert not any(name.endswith((".kid", ".copying", "kid_gap")) for name in metrics)


def test_sdxl(home: None, tmp_path: Path) -> None:
    metrics, _ = run(world(tmp_path, tiny_sdxl()), tmp_path / "out", lcm_steps=(4,))
    assert metrics.keys() >= MEASURED


def test_clear_errors(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"style 'ghibli' is not in the vocabulary"):
        run(inputs, tmp_path, judge={**JUDGE, "style": "ghibli"})
    with pytest.raises(DataError, match="holds 8 prompts; 9 are asked for"):
        run(inputs, tmp_path, count=9)
    broken = {**inputs, "reference": tmp_path}
    with pytest.raises(DataError, match="reference features"):
        run(broken, tmp_path / "out", lcm_steps=(4,))

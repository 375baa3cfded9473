"""Latent consistency distillation: closed forms of the loss, both students, and the stage at tiny sizes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from components.artifact import write_json
from components.errors import ModelError
from components.image.dataset.loader import CachedDataset, caption_key
from components.image.distillation import distill
from components.image.distillation.adversary import WARM_UP, Adversary
from components.image.distillation.lcm import LCMDistiller, Points, SolverGrid, pseudo_huber, solver_step
from components.image.distillation.paths import Guide, walk_paths
from components.image.distillation.stage import Losses
from components.image.distillation.students import make_student
from components.image.export import save_peft
from components.image.families.bundle import Condition
from components.image.families.schedule import NoiseSchedule
from components.image.generation.latent import load_variant, pictures, sample
from components.image.lora import attach
from components.image.recipe import DistillConfig
from components.modalities import resolve
from components.runlog import SilentLog
from tests.tiny import LATENTS, tiny_model, tiny_sd15, tiny_sdxl

V = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
}
CAPTIONS = ["kyarachar, blue hair", "kyarachar, red hair, smile", ""]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Inputs of the stage by family: (base, {"dataset": a cache, "train": a character LoRA})."""
    bases = {"sd15": tiny_sd15(v_prediction=True), "sdxl": tiny_sdxl()}
    return {name: (base, make_inputs(tmp_path_factory.mktemp(name), base)) for name, base in bases.items()}


def make_inputs(folder, base):
    bundle = load_variant(tiny_model(base))
    make_dataset(folder / "dataset", bundle)
    made = attach(bundle.unet, rank=2, alpha=2, targets="attention", seed=0, log=SilentLog())
    for value in made.parameters.values():
        torch.nn.init.normal_(value.data, std=0.2)
    save_peft(folder / "train" / "anime-lora-final", made.parameters, made.config, str(base))
    return {"dataset": folder / "dataset", "train": folder / "train"}


def make_dataset(folder, bundle):
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    ids = [f"{number:016x}" for number in range(4)]
    samples = [{"id": name, "split": "train", "captions": [CAPTIONS[number % 2]]} for number, name in enumerate(ids)]
    write_json(folder / "index.json", {"trigger": "kyarachar", "license": "CC0-1.0", "samples": samples})
    save_file({name: torch.randn(LATENTS, generator=generator) for name in ids}, folder / "latents.safetensors")
    text = {}
    for caption in CAPTIONS:
        condition = bundle.encode_prompts([caption])
        text[f"{caption_key(caption)}.hidden"] = condition.hidden[0].clone()
        if condition.pooled is not None:
            text[f"{caption_key(caption)}.pooled"] = condition.pooled[0].clone()
    save_file(text, folder / "text.safetensors")


def config_for(base, **changes):
    usual = {
        "model": tiny_model(base),
        "steps": 4,
        "batch_size": 2,
        "checkpoint_every": 2,
        "samples": 2,
        "rank": 4,
        "trigger": "kyarachar",
    }
    return DistillConfig(**{**usual, **changes})


def test_the_stage_is_found_by_its_dotted_name():
    assert resolve("components.image.distillation.stage:distill") is distill


def test_pseudo_huber():
    """sqrt(d^2 + c^2) - c: 0 at d = 0, near d^2 / 2c below c, near |d| above (arXiv 2310.14189)."""
    assert pseudo_huber(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 0.0]), 4.0) == pytest.approx(0.5)
    assert pseudo_huber(torch.tensor(1e-4), torch.tensor(0.0), 1e-1) == pytest.approx(1e-8 / 0.2, rel=1e-2)
    assert pseudo_huber(torch.tensor(7.0), torch.tensor(0.0), 1e-3) == pytest.approx(7.0, rel=1e-3)


def test_solver_grid_ends_at_the_boundary():
    """k = 20 for 50 of 1,000; the lowest step ends at t = 0 (LCM, section 4.3)."""
    grid = SolverGrid.of(NoiseSchedule.from_config(V), 50)
    assert grid.timesteps[[0, 1, 49]].tolist() == [19, 39, 999]
    assert grid.timesteps_prev[[0, 1, 49]].tolist() == [0, 19, 979]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_solver_step_is_exact_where_the_teacher_is(prediction):
    """A teacher that knows x0 and eps lands on sqrt(a') x0 + sqrt(1 - a') eps (LCM, equation 11)."""
    schedule = NoiseSchedule.from_config({**V, "prediction_type": prediction})
    x0, eps = torch.full((2, 1, 1, 1), 0.5), torch.full((2, 1, 1, 1), -2.0)
    # zero terminal SNR: noise says nothing about x0 at t = 999
    t = torch.tensor([979, 499 if prediction == "epsilon" else 999])
    xt, output = schedule.add_noise(x0, eps, t), schedule.target(x0, eps, t)
    alpha_prev = torch.tensor([0.3, 0.8]).view(-1, 1, 1, 1)
    # guidance between equal answers changes nothing
    landed = solver_step(schedule, output, output, xt, t, alpha_prev, torch.full((2, 1, 1, 1), 7.0))
    torch.testing.assert_close(landed, alpha_prev.sqrt() * x0 + (1 - alpha_prev).sqrt() * eps, rtol=0, atol=1e-4)


def test_guided_solver_step_moves_x0_and_eps_alike():
    """Guiding v equals guiding x0 and eps apart, as Algorithm 1 of LCM writes it with w = scale - 1."""
    schedule, scale = NoiseSchedule.from_config(V), torch.tensor(5.0)
    xt, cond, uncond = torch.randn(3, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    t, alpha_prev = torch.tensor([399]), torch.tensor(0.9)
    parts = []
    for convert in (schedule.x0, schedule.eps):
        c, u = convert(cond, xt, t), convert(uncond, xt, t)
        parts.append(c + (scale - 1) * (c - u))
    expected = alpha_prev.sqrt() * parts[0] + (1 - alpha_prev).sqrt() * parts[1]
    torch.testing.assert_close(solver_step(schedule, cond, uncond, xt, t, alpha_prev, scale), expected)


class Oracle:
    """A student of one picture: its outputs are exact for x0 = `picture` wherever the noise is known from x_t."""

    def __init__(self, schedule, picture):
        self.schedule, self.picture, self.asked = schedule, picture, []

    def predict_teacher(self, latents, t, condition):
        self.asked.append(len(latents))
        a = self.schedule.at(t, latents)
        noise = (latents - a.sqrt() * self.picture) / (1 - a).sqrt()
        return self.schedule.target(self.picture.expand_as(latents), noise, t)

    def predict(self, latents, t, condition, scale):
        return self.predict_teacher(latents, t, condition)

    predict_target = predict


def test_an_exact_student_has_no_loss_and_the_teacher_is_asked_once():
    schedule, picture = NoiseSchedule.from_config(V), torch.full((1, 4, 2, 2), 0.25)
    oracle = Oracle(schedule, picture)
    distiller = LCMDistiller(oracle, schedule, Condition(torch.zeros(1, 3, 2)), DistillConfig(trigger="t"))
    lesson = distiller.on_latents(
        picture.expand(8, -1, -1, -1), Condition(torch.zeros(8, 3, 2)), torch.Generator().manual_seed(0)
    )
    # c_skip lets a trace of x_t through at the smallest timesteps, on both sides alike up to one solver step
    assert float(pseudo_huber(*lesson, 0.001)) < 1e-3
    assert oracle.asked == [16, 8, 8]
    t = torch.tensor([999, 259])
    xt = schedule.add_noise(picture.expand(2, -1, -1, -1), torch.randn(2, 4, 2, 2), t)
    points = Points(xt, t, picture.expand(2, -1, -1, -1), Condition(torch.zeros(2, 3, 2)), torch.ones(2))
    assert float(pseudo_huber(*distiller.on_paths(points), 0.001)) < 1e-3


def test_guidance_is_uniform_in_the_range():
    distiller = LCMDistiller(
        None,
        NoiseSchedule.from_config(V),
        Condition(torch.zeros(1, 3, 2)),
        DistillConfig(trigger="t", guidance=(3.0, 5.0)),
    )
    scales = distiller.guidance(4000, torch.Generator().manual_seed(0))
    assert scales.min() >= 3 and scales.max() <= 5
    assert float(scales.mean()) == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_student_begins_as_its_teacher(mode):
    base = tiny_sd15(v_prediction=True)
    bundle = load_variant(tiny_model(base))
    student = make_student(bundle, config_for(base, mode=mode), SilentLog())
    x, t, condition = torch.randn(2, *LATENTS), torch.tensor([999, 19]), bundle.encode_prompts(["a", "b"])
    scale = torch.tensor([3.0, 5.0])
    with torch.no_grad():
        taught = student.predict_teacher(x, t, condition)
        torch.testing.assert_close(student.predict(x, t, condition, scale), taught, rtol=0, atol=2e-5)
        torch.testing.assert_close(student.predict_target(x, t, condition, scale), taught, rtol=0, atol=2e-5)
        for value in student.parameters().values():
            value += 0.05
        assert (student.predict(x, t, condition, scale) - taught).abs().max() > 1e-3
        torch.testing.assert_close(student.predict_teacher(x, t, condition), taught)


def test_the_average_follows():
    """theta- = mu theta- + (1 - mu) theta (LCM, Algorithm 1)."""
    base = tiny_sd15()
    student = make_student(load_variant(tiny_model(base)), config_for(base, mode="full", ema_decay=0.75), SilentLog())
    name = "conv_in.bias"
    before = student.state()[name].clone()
    with torch.no_grad():
        student.parameters()[name] += 1.0
    student.after_step()
    torch.testing.assert_close(student.state()[name], before + 0.25)


def test_paths_end_where_the_sampler_ends(tmp_path):
    """From pure noise a path is DDIM on trailing timesteps; a second walk reads what the first wrote."""
    base = tiny_sd15(v_prediction=True)
    exact = tiny_model(base).model_copy(update={"dtype": "float32"})
    settings = {"path_share": 1.0, "path_steps": 4, "guidance": (3.0, 3.0)}
    bundle, config = load_variant(exact), config_for(base, model=exact, **settings)
    student = make_student(bundle, config, SilentLog())
    guide = Guide(student, bundle.schedule, bundle.encode_prompts([""]), config.path_steps)
    assert [guide.grid(start).tolist() for start in (999, 499, 259, 19)] == [
        [999, 749, 499, 249],
        [499, 249],
        [259, 129],
        [19],
    ]
    prompts = bundle.encode_prompts(["a", "b", "c"])
    paths = walk_paths(guide, prompts, LATENTS, config, tmp_path / "paths", SilentLog())
    assert len(paths.end) == 3 * 4 and len(paths.xt) == 3 * (4 + 4 + 2 + 2)
    assert int(paths.first.sum()) == len(paths.end)
    rows = torch.where(paths.first & (paths.t == 999))[0]
    bundle.unet.disable_adapters()
    bundle.scheduler_config["set_alpha_to_one"] = True
    asked = (paths.condition[paths.path[rows]], guide.empty)
    *_, (_, final) = sample(bundle, *asked, noise=paths.xt[rows], steps=4, guidance=3.0, seeds=[0, 0, 0])
    torch.testing.assert_close(paths.end[paths.path[rows]], final, rtol=0, atol=1e-4)
    again = walk_paths(
        Guide(None, bundle.schedule, guide.empty, 4), prompts, LATENTS, config, tmp_path / "paths", SilentLog()
    )
    assert torch.equal(again.xt, paths.xt) and torch.equal(again.path, paths.path)


def test_own_paths_begin_at_the_students_pictures_as_at_inference(tmp_path):
    base = tiny_sd15(v_prediction=True)
    exact = tiny_model(base).model_copy(update={"dtype": "float32"})
    bundle, config = load_variant(exact), config_for(base, model=exact, path_share=1.0, path_steps=4)
    student = make_student(bundle, config, SilentLog())
    distiller = LCMDistiller(student, bundle.schedule, bundle.encode_prompts([""]), config)
    guide = Guide(student, bundle.schedule, distiller.empty, config.path_steps)
    prompts = bundle.encode_prompts(["a", "b", "c"])
    teachers = walk_paths(guide, prompts, LATENTS, config, tmp_path, SilentLog())
    own = walk_paths(guide, prompts, LATENTS, config, tmp_path, SilentLog(), distiller.clean)
    begins = {start: torch.where(own.first & (own.t == start))[0] for start in (999, 759)}
    assert torch.equal(own.xt[begins[999]], teachers.xt[begins[999]])
    assert torch.equal(own.scale, teachers.scale)

    paths = own.path[begins[999]]
    at = torch.full((3,), 999)
    drawn = distiller.clean(own.xt[begins[999]], at, own.condition[paths], own.scale[paths])
    later = torch.full((3,), 759)
    a = bundle.schedule.at(later, drawn)
    noise = (own.xt[begins[759]] - a.sqrt() * drawn) / (1 - a).sqrt()
    assert abs(float(noise.mean())) < 0.15
    assert abs(float(noise.std()) - 1.0) < 0.15
    theirs = teachers.end[teachers.path[begins[999]]]
    assert not torch.allclose(theirs, drawn, atol=1e-2)


def test_own_paths_are_walked_once_and_in_their_time(worlds):
    base, inputs = worlds["sd15"]
    config = config_for(base, path_share=1.0, on_policy_from=0.5)
    bundle = load_variant(tiny_model(base))
    distiller = LCMDistiller(
        make_student(bundle, config, SilentLog()), bundle.schedule, bundle.encode_prompts([""]), config
    )
    walked = []
    losses = Losses(distiller, CachedDataset.open(inputs["dataset"], "train"), walked.append, bundle.device)
    for step in range(config.steps):
        losses.prepare(step)
        assert walked == ([False, True] if step >= config.steps / 2 else [False])


def test_path_points_are_drawn_by_share(tmp_path):
    base = tiny_sd15()
    bundle, config = load_variant(tiny_model(base)), config_for(base, path_share=1.0, path_steps=8)
    guide = Guide(make_student(bundle, config, SilentLog()), bundle.schedule, bundle.encode_prompts([""]), 8)
    paths = walk_paths(guide, bundle.encode_prompts(["a", "b"]), LATENTS, config, tmp_path, SilentLog())
    starts = {999, 759, 499, 259}
    for share in (0.0, 0.5, 1.0):
        points = paths.points(16, share, torch.Generator().manual_seed(0))
        assert points.xt.shape == points.end.shape == (16, *LATENTS)
        assert len(points.condition) == len(points.scale) == 16
        found = sum(int(value) in starts for value in points.t)
        assert found in {0.0: range(9), 0.5: range(4, 13), 1.0: range(16, 17)}[share]


@pytest.mark.parametrize(("family", "mode"), [("sd15", "lora"), ("sd15", "full"), ("sdxl", "lora")])
def test_the_stage_makes_a_model_that_draws(worlds, tmp_path, family, mode):
    base, inputs = worlds[family]
    config = config_for(base, mode=mode, path_share=0.5, paths=3, path_steps=2, learning_rate=1e-2)
    distill(config, inputs, tmp_path, SilentLog())
    facts = json.loads((tmp_path / "lcm_distilled_model" / "metadata.json").read_text())
    expected = {"mode": mode, "steps": 4, "guidance": sum(config.guidance) / 2, "trigger": "kyarachar"}
    assert expected.items() <= facts.items()
    assert facts["parents"].keys() == {"dataset", "train"}
    log = json.loads((tmp_path / "distill_log.json").read_text())
    assert [row["step"] for row in log["steps"]] == [1, 2, 3, 4]
    assert not list(tmp_path.glob(".paths-*"))
    assert (tmp_path / "samples.png").is_file() and (tmp_path / "curves.png").is_file()
    lora, lcm = inputs["train"] / "anime-lora-final", tmp_path / "lcm_distilled_model"
    images = pictures(load_variant(tiny_model(base), lora=lora, lcm=lcm), ["a"], [0], steps=4, kind="lcm")
    before = pictures(load_variant(tiny_model(base), lora=lora), ["a"], [0], steps=4, kind="lcm")
    assert images[0].size == (32, 32)
    assert images[0].tobytes() != before[0].tobytes()


def test_an_interrupted_run_ends_equal(worlds, tmp_path, monkeypatch):
    """Stopped after the first checkpoint and started again, it ends with an uninterrupted run's weights."""

    class Stop(SilentLog):
        def progress(self, done, total, *, unit="step", **fields):
            if unit == "step" and done == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr("components.image.distillation.adversary.WARM_UP", 1)
    base, inputs = worlds["sd15"]
    config = config_for(
        base,
        path_share=0.5,
        paths=2,
        path_steps=2,
        on_policy_from=0.5,
        adversarial=0.2,
        adversarial_from=0.25,
        samples=0,
    )
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    distill(config, inputs, whole, SilentLog())
    with pytest.raises(KeyboardInterrupt):
        distill(config, inputs, torn, Stop())
    shutil.rmtree(torn / "checkpoint-interrupted", ignore_errors=True)
    distill(config, inputs, torn, SilentLog())
    name = "lcm_distilled_model/lcm_lora/adapter_model.safetensors"
    assert (whole / name).read_bytes() == (torn / name).read_bytes()


def test_memory_settings_keep_the_steps(worlds, tmp_path):
    """Checkpointing changes no weight; accumulation takes as many batches a step, and the adversary counts steps."""
    base, inputs = worlds["sd15"]
    weights = []
    for name, settings in (("plain", {}), ("less", {"gradient_checkpointing": True})):
        distill(config_for(base, steps=2, samples=0, **settings), inputs, tmp_path / name, SilentLog())
        weights.append((tmp_path / name / "lcm_distilled_model/lcm_lora/adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    config = config_for(base, steps=2, samples=0, batch_size=1, accumulation=3, adversarial=0.1, adversarial_from=0.5)
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        patch.setattr(Adversary, "loss", lambda self, clean, *_: (seen.append(len(clean)), clean.new_zeros(()))[1])
        distill(config, inputs, tmp_path / "parts", SilentLog())
    assert seen == [1, 1, 1], "all parts of the second of two steps"
    log = json.loads((tmp_path / "parts" / "distill_log.json").read_text())
    assert [row["step"] for row in log["steps"]] == [1, 2]


def lines(count, generator):
    """Latents with a sharp line each, and their blurred twins."""
    sharp = torch.zeros(count, 4, 12, 12)
    for picture, place in zip(sharp, torch.randint(2, 10, (count,), generator=generator).tolist(), strict=True):
        picture[:, :, place] = 1.0
    return sharp, torch.nn.functional.avg_pool2d(sharp, 3, stride=1, padding=1)


def test_against_the_adversary_soft_lines_become_sharp():
    adversary, generator = Adversary(4, 0, torch.device("cpu")), torch.Generator().manual_seed(0)
    picture = lines(8, generator)[1].requires_grad_()
    optimizer = torch.optim.Adam([picture], lr=0.02)
    height = picture.detach().amax((2, 3)).mean().item()
    assert height == pytest.approx(1 / 3)
    for step in range(200):
        loss = adversary.loss(picture, lines(8, generator)[0], generator)
        assert (loss.item() == 0.0) == (step < WARM_UP)
        if step >= WARM_UP:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        adversary.after_step()
    assert picture.detach().amax((2, 3)).mean().item() > 2 * height


def test_the_adversary_does_not_see_colours():
    adversary = Adversary(4, 0, torch.device("cpu"))
    gray, red = torch.zeros(1, 4, 12, 12), torch.tensor([3.0, 0.0, -1.0, 0.0]).view(1, 4, 1, 1).expand(1, 4, 12, 12)
    torch.testing.assert_close(adversary.network(red), adversary.network(gray))


def test_an_adversary_is_restored_in_place():
    first, generator = Adversary(4, 0, torch.device("cpu")), torch.Generator().manual_seed(0)
    for _ in range(3):
        sharp, blurred = lines(8, generator)
        first.loss(blurred, sharp, generator)
        first.after_step()
    second = Adversary(4, 1, torch.device("cpu"))
    with torch.no_grad():
        for name, value in second.state().items():
            value.copy_(first.state()[name])
    for adversary in (first, second):
        adversary.loss(blurred, sharp, torch.Generator().manual_seed(1))
        adversary.after_step()
    for name, value in first.state().items():
        assert torch.equal(value, second.state()[name]), name


def test_a_missing_lora_is_named(worlds, tmp_path):
    base, inputs = worlds["sd15"]
    with pytest.raises(ModelError, match="anime-lora-final"):
        distill(config_for(base), {**inputs, "train": tmp_path}, tmp_path / "out", SilentLog())

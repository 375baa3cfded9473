"""The embedded base at tiny sizes: it learns, survives a kill, and loads as any Stable Diffusion."""

import random
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel

from components.image.families.schedule import NoiseSchedule
from components.portraits.world import autoencoder as ae
from components.portraits.world import base
from components.portraits.world.judge_training import labels
from components.portraits.world.renders import Portrait, sample_portraits
from components.portraits.world.training import Budget, Training
from components.training.optimizers import Muon

SIZE = 64


@pytest.fixture(scope="module")
def portraits() -> list[Portrait]:
    return sample_portraits(8, seed=3)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randint(0, 256, (8, 3, 4, 4), generator=generator).float()
    return torch.nn.functional.interpolate(flat, size=SIZE).byte()


def tiny_unet() -> UNet2DConditionModel:
    return base.make_unet(channels=(16, 16, 32), size=SIZE // 4, groups=8)


def train_tiny(latents: torch.Tensor, portraits: list[Portrait], folder: Path, steps: int, **options: object) -> Path:
    autoencoder = ae.make_autoencoder(width=8)
    budget = Budget(steps=steps)
    faces = torch.zeros(len(latents), 32, 32, dtype=torch.uint8)
    quiet = {"batch": 4, "make": tiny_unet, "report": lambda _: None}
    return base.train_base(latents, faces, portraits, autoencoder, folder, budget, **{**quiet, **options})


def test_the_autoencoder_learns(images: torch.Tensor, tmp_path: Path) -> None:
    untrained = ae.psnr(ae.make_autoencoder(width=16), images)
    train = partial(ae.train_autoencoder, images, tmp_path, batch=4, report=lambda _: None)
    model = train(budget=Budget(steps=60), model=ae.make_autoencoder(width=16))
    assert ae.psnr(model, images) > untrained + 3


def test_half_size_latents_learn_to_decode_to_half_size_pictures(images: torch.Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ae.train_autoencoder(
        images, tmp_path, Budget(steps=60), model=ae.make_autoencoder(width=16), batch=4, report=lambda _: None
    )
    assert ae.half_psnr(model, images) > ae.half_psnr(ae.make_autoencoder(width=16), images) + 3


def test_energy_is_told_by_frequency() -> None:
    flat = torch.arange(32.0).expand(1, 1, 32, 32)
    checks = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(16, 16)[None, None]
    assert ae.spectrum(flat)[0] > 0.5
    assert ae.spectrum(checks) == [0.0, 0.0, 0.0, 1.0]


def test_latents_are_white_and_whitening_keeps_the_picture(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = ae.make_autoencoder(width=8)
    model.encoder.layers[-1].weight.data.mul_(0.05)
    inside = ae.reconstruct(model, ae.to_signed(images))[..., 16:-16, 16:-16]
    ae.whiten(model, images)
    latents = ae.encode(model, images)
    assert latents.mean((0, 2, 3)).abs().max() < 1e-3
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 1e-3
    after = ae.reconstruct(model, ae.to_signed(images))[..., 16:-16, 16:-16]
    assert (after - inside).abs().mean() < 0.2, "only the tanh before the decoder may tell them apart"


def test_a_budget_is_steps_or_minutes() -> None:
    with pytest.raises(ValueError, match="either steps or minutes"):
        Budget()
    assert Budget(minutes=2.0).in_steps(0.5) == 240 and Budget(steps=7).in_steps(0.5) == 7


def test_timesteps_are_spread_over_the_parts_of_the_schedule() -> None:
    assert sum(share for share, _, _ in base.NOISE_SHARES) == pytest.approx(1.0)
    steps = base.spread_timesteps(100, 1000, torch.Generator().manual_seed(0))
    first = 0
    for share, start, end in base.NOISE_SHARES:
        count = round(100 * share)
        cell = (steps[first : first + count].float() / 1000 - start) / (end - start) * count
        assert (cell - torch.arange(count) - 0.5).abs().max() <= 0.5 + 0.1
        first += count


def test_the_schedule_ends_in_pure_noise() -> None:
    schedule = NoiseSchedule.from_config(base.make_scheduler().config)
    assert schedule.snr(torch.tensor([999])).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("text", ["pink hair", "zyzzyva Ω 髪 🦊 \x00", "", "a" * 500])
def test_any_text_has_tokens(portraits: list[Portrait], text: str, tmp_path: Path) -> None:
    tokenizer = base.make_tokenizer(base.sample_captions(portraits, random.Random(0)) * 40)
    ids = base.tokens(tokenizer, [text])
    assert ids.shape == (1, base.TOKENS)
    assert int(ids.max()) < len(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert torch.equal(base.tokens(again, [text]), ids)


def test_unknown_words_are_spelled_out(portraits: list[Portrait]) -> None:
    tokenizer = base.make_tokenizer(base.sample_captions(portraits, random.Random(0)) * 40)
    one, other = (tokenizer(word).input_ids for word in ("xqj", "jqx"))
    assert one != other
    assert tokenizer.decode(one, skip_special_tokens=True) == "xqj"


def test_captions_change_with_the_step_and_some_are_empty(portraits: list[Portrait]) -> None:
    first, second = (base.sample_captions(portraits * 20, random.Random(seed)) for seed in (0, 1))
    assert first != second
    assert 0 < sum(not text for text in first) < 0.3 * len(first)


def test_the_base_learns(portraits: list[Portrait], tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = base.Networks(tiny_unet(), base.make_text_encoder(base.make_tokenizer(["pink hair"] * 40)))
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).expand(8, -1, -1, -1)
    ids = base.tokens(base.make_tokenizer(["pink hair"] * 40), ["pink hair"] * 8)
    schedule = NoiseSchedule.from_config(base.make_scheduler().config)

    def loss(generator: torch.Generator) -> torch.Tensor:
        context = networks.text_encoder(ids).last_hidden_state
        return base.diffusion_loss(networks.unet, schedule, latents, context, generator)

    training = Training(networks, [torch.optim.AdamW(networks.parameters(), lr=2e-3)], Budget(steps=30), tmp_path)
    before = loss(torch.Generator().manual_seed(9)).item()
    assert list(training.steps(loss))[-1] == 30
    assert loss(torch.Generator().manual_seed(9)).item() < 0.8 * before


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    def training(folder: Path, steps: int) -> Training:
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(4, 4, 3)
        return Training(
            layer, [Muon([layer.weight], 1e-2), torch.optim.AdamW([layer.bias], 1e-2)], Budget(steps=steps), folder
        )

    def run(one: Training, until: int) -> list[int]:
        def loss(generator: torch.Generator) -> torch.Tensor:
            value: torch.Tensor = one.module(torch.randn(2, 4, 8, 8, generator=generator)).square().mean()
            return value

        done: list[int] = []
        for step in one.steps(loss):
            done.append(step)
            if step == until:
                break
        return done

    whole, resumed = training(tmp_path / "whole", 8), training(tmp_path / "parts", 8)
    assert run(whole, 8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert run(training(tmp_path / "parts", 8), 3) == [1, 2, 3]
    assert run(resumed, 8) == [4, 5, 6, 7, 8]
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name])
        assert torch.equal(whole.average.weights[name], resumed.average.weights[name])


def test_minutes_become_steps_once(tmp_path: Path) -> None:
    layer = torch.nn.Conv2d(4, 4, 3)
    before = layer.weight.detach().clone()
    times = iter(range(100))

    def training() -> Training:
        return Training(layer, [torch.optim.AdamW(layer.parameters(), lr=1e-2)], Budget(minutes=1.0), tmp_path)

    def loss(generator: torch.Generator) -> torch.Tensor:
        value: torch.Tensor = layer(torch.randn(1, 4, 8, 8, generator=generator)).square().mean()
        return value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.portraits.world.training.time.perf_counter", lambda: 10.0 * next(times))
        one = training()
        assert one._planned(loss) == 6, "timing three steps of ten seconds"
    assert torch.equal(layer.weight, before), "timing trains nothing"
    assert training()._planned(loss) == 6, "another machine's speed changes nothing"
    assert list(training().steps(loss)) == [1, 2, 3, 4, 5, 6]


def test_the_export_loads_as_stable_diffusion_and_warm_starts(portraits: list[Portrait], tmp_path: Path) -> None:
    latents = torch.randn(8, 4, SIZE // 4, SIZE // 4)
    folder = train_tiny(latents, portraits, tmp_path / "first", 2)
    assert max(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 15_000_000
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert isinstance(pipeline.vae, AutoencoderTiny)
    picture = pipeline("pink hair, glasses", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[
        0
    ]
    assert picture.size == (SIZE, SIZE)
    again = train_tiny(latents, portraits, tmp_path / "second", 1, start=folder)
    train_tiny(latents, portraits, tmp_path / "second", 2, out=again)
    encoder = StableDiffusionPipeline.from_pretrained(again).text_encoder.state_dict()
    other = partial(base.make_unet, 12, (16, 32), SIZE // 4, 8)
    moved = train_tiny(latents.repeat(1, 3, 1, 1), portraits, tmp_path / "third", 1, start=again, make=other)
    words = StableDiffusionPipeline.from_pretrained(moved)
    assert words.unet.config.in_channels == 12
    for name, value in words.text_encoder.state_dict().items():
        torch.testing.assert_close(value, encoder[name], atol=2e-3, rtol=0.0)
    assert StableDiffusionPipeline.from_pretrained(again).unet.config.block_out_channels == [16, 16, 32]


def test_the_reader_learns_what_captions_tell_and_asks_for_nothing_else(portraits: list[Portrait]) -> None:
    torch.manual_seed(0)
    told = [row for _, row in base.sample_told(portraits * 4, random.Random(0))]
    hidden = torch.randn(len(told), 9, 32, requires_grad=True)
    reader = base.Reader(32)
    silent = reader.loss(hidden, [{}] * len(told))
    assert silent.item() == 0.0
    optimizer = torch.optim.Adam([hidden, *reader.parameters()], lr=0.05)
    losses = []
    for _ in range(60):
        loss = reader.loss(hidden, told)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1.2, abs=0.6)  # about the logarithm of how many values an attribute has
    assert losses[-1] < 0.1


def test_the_sketch_reads_the_attributes_off_the_middle(portraits: list[Portrait]) -> None:
    torch.manual_seed(0)
    unet = tiny_unet()
    sketch = base.Sketch(unet)
    sketch.watch(unet)
    answers = torch.stack([*labels(portraits).values()], 1)
    share = torch.zeros(8, 1, 16, 16)
    share[:, :, 3, 3] = 1.0
    latents = torch.randn(8, 4, 16, 16)
    optimizer = torch.optim.Adam([*unet.parameters(), *sketch.parameters()], lr=5e-3)
    losses = []
    for _ in range(40):
        unet(latents, torch.zeros(8), encoder_hidden_states=torch.zeros(8, 4, base.TEXT_WIDTH))
        loss = sketch.loss(answers, share)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_a_quarter_of_the_captions_is_as_short_as_people_type() -> None:
    told = [row for _, row in base.sample_told(sample_portraits(400, seed=4), random.Random(0)) if row]
    short = sum(len(row) <= 2 for row in told) / len(told)
    assert base.SHORT_SHARE - 0.06 < short < base.SHORT_SHARE + 0.1


def test_captions_tell_what_they_say(portraits: list[Portrait]) -> None:
    for text, told in base.sample_told(portraits * 20, random.Random(0)):
        assert bool(text) == bool(told)
        if told.get("glasses") == "no":
            assert "no glasses" in text or "without glasses" in text

"""Walking pictures back to their noise, on tiny models of every kind of prediction."""

import pytest
import torch

from components.image.families.bundle import load_bundle
from components.image.generation.inversion import invert, redraw
from components.image.generation.latent import initial_noise, last, sample
from tests.tiny import tiny_model, tiny_sd15, tiny_sdxl


def walked(bundle, latents, condition, **options):
    *_, (_, found) = invert(bundle, latents, condition, **options)
    return found


def kinds():
    yield load_bundle(tiny_model(tiny_sd15()))
    yield load_bundle(tiny_model(tiny_sd15(v_prediction=True, vae="tiny")))
    yield load_bundle(tiny_model(tiny_sdxl()))


@pytest.mark.parametrize("place", range(3))
def test_what_was_drawn_from_noise_walks_back_to_it(place):
    bundle = list(kinds())[place]
    condition = bundle.encode_prompts(["a girl", "a boy"])
    noise = initial_noise(bundle, [1, 2], 32, 32)
    drawn = last(sample(bundle, condition, noise=noise, steps=8, guidance=1.0, seeds=[1, 2]))
    found = walked(bundle, drawn, condition, steps=8, iterations=8)
    assert found.skipped == 0 and found.residual < 1e-3
    torch.testing.assert_close(found.noise, noise, atol=0.02, rtol=0)
    again = last(redraw(bundle, found, condition))
    torch.testing.assert_close(again, drawn, atol=0.01, rtol=0)


def test_iterations_make_the_round_trip_nearer():
    bundle = load_bundle(tiny_model(tiny_sd15(v_prediction=True)))
    latents = 0.5 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = bundle.encode_prompts(["a girl"])
    errors = []
    for iterations in (1, 2, 6):
        found = walked(bundle, latents, condition, steps=6, iterations=iterations)
        errors.append(float((last(redraw(bundle, found, condition)) - latents).norm()))
    assert errors[0] > errors[1] > errors[2]


def test_a_timestep_that_carries_nothing_back_is_left_out():
    """Noise prediction at zero terminal SNR: x_999 holds nothing of the picture."""
    bundle = load_bundle(tiny_model(tiny_sd15()))
    bundle.scheduler_config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    bundle.__post_init__()
    with torch.no_grad():
        bundle.unet.conv_out.weight.mul_(0.01)  # random weights answer more wildly than a trained model
    latents = 0.5 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = bundle.encode_prompts(["a girl"])
    events = list(invert(bundle, latents, condition, steps=5, iterations=8))
    assert [done for done, _ in events] == [1, 2, 3, 4]
    found = events[-1][1]
    assert found.skipped == 1
    assert torch.isfinite(found.noise).all()
    drawn = list(redraw(bundle, found, condition))
    assert [done for done, _ in drawn] == [1, 2, 3, 4]
    torch.testing.assert_close(drawn[-1][1], latents, atol=0.02, rtol=0)


def test_an_engine_may_predict():
    bundle = load_bundle(tiny_model(tiny_sd15()))
    asked = []

    def predict(latents, t, condition, guidance):
        asked.append(int(t[0]))
        return bundle.predict(latents, t, condition, guidance)

    latents = torch.zeros(1, 4, 8, 8)
    walked(bundle, latents, bundle.encode_prompts([""]), steps=4, iterations=1, predict=predict)
    assert asked == sorted(asked) and len(asked) == 4

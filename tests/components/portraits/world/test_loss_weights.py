import torch

from components.portraits.world.loss_weights import weight_maps
from components.portraits.world.renders import Portrait


def portraits(count: int, expression: bool = True) -> list[Portrait]:
    def one(index: int) -> Portrait:
        attributes = {"position": ("left", "right")[index % 2], "scale": "far", "tilt": "none"}
        mood = {"expression": ("smile", "frown")[index // 2 % 2]} if expression else {}
        return Portrait("micah", {**attributes, **mood}, index)

    return [one(index) for index in range(count)]


def latents(shown: list[Portrait]) -> torch.Tensor:
    """Noise, but for a mouth that is at (2, 2) of people on the left and at (2, 6) of those on the right."""
    values = torch.randn(len(shown), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for value, portrait in zip(values, shown, strict=True):
        column = 2 if portrait.attributes["position"] == "left" else 6
        value[:, 2, column] += 4.0 if portrait.attributes.get("expression") == "smile" else -4.0
    return values


def test_the_weight_is_where_the_attribute_shows_in_each_layout() -> None:
    shown = portraits(160)
    maps = weight_maps(latents(shown), shown, gain=4.0)
    assert maps.shape == (160, 1, 8, 8)
    assert maps.min() >= 1.0
    for index, column, other in ((0, 2, 6), (1, 6, 2)):
        here = maps[index, 0]
        assert here[2, column] > 1.4, "a ninth of the gain after smoothing over nine pixels"
        assert here[2, column] > here[2, other] + 0.2
        assert here[6].max() < 1.4


def test_pictures_that_tell_nothing_small_weigh_evenly() -> None:
    shown = portraits(40, expression=False)
    assert torch.equal(weight_maps(latents(shown), shown), torch.ones(40, 1, 8, 8, dtype=torch.float16))


def test_a_value_seen_too_seldom_says_nothing() -> None:
    shown = portraits(8)
    assert torch.equal(weight_maps(latents(shown), shown), torch.ones(8, 1, 8, 8, dtype=torch.float16))

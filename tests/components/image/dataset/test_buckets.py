"""Buckets: areas, units, nearest shapes."""

import numpy as np
import pytest
from PIL import Image

from components.image.dataset import buckets


@pytest.mark.parametrize(("resolution", "unit"), [(128, 32), (512, 64), (1024, 64), (32, 8), (128, 16)])
def test_sizes_fit_the_unet_and_the_area(resolution: int, unit: int) -> None:
    sizes = buckets.bucket_sizes(resolution, unit)
    assert (resolution, resolution) in sizes
    for width, height in sizes:
        assert width % unit == height % unit == 0
        assert width * height <= resolution**2
        assert resolution // 2 <= min(width, height)
        assert (height, width) in sizes


def test_nearest_bucket_goes_by_the_ratio() -> None:
    sizes = buckets.bucket_sizes(512, 64)
    assert buckets.nearest_bucket((1000, 1000), sizes) == (512, 512)
    assert buckets.nearest_bucket((900, 600), sizes) == (640, 384)
    assert buckets.nearest_bucket((600, 900), sizes) == (384, 640)
    assert buckets.nearest_bucket((5000, 100), sizes) == (1024, 256)


def test_a_side_that_is_no_multiple_is_rounded_down() -> None:
    assert buckets.square(500, 64) == (448, 448)


def test_fit_crops_the_centre() -> None:
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, :10], stripes[:, 10:20], stripes[:, 20:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    middle = buckets.fit(Image.fromarray(stripes), (10, 10))
    assert middle.getpixel((5, 5)) == (0, 255, 0)

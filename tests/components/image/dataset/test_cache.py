import os
import time
from pathlib import Path

import torch

from components.image.dataset.cache import KEPT_DAYS, EncodingCache


def aged(folder: Path, days: float) -> None:
    past = time.time() - 86400 * days
    os.utime(folder, (past, past))


def test_what_is_put_is_found(tmp_path: Path) -> None:
    cache = EncodingCache(tmp_path / "latents-a")
    cache.put("ab" * 32, {"latents": torch.ones(2)})
    found = EncodingCache(tmp_path / "latents-a").get("ab" * 32)
    assert found is not None
    assert torch.equal(found["latents"], torch.ones(2))
    assert cache.get("cd" * 32) is None


def test_encoders_that_nobody_used_for_long_are_dropped(tmp_path: Path) -> None:
    for name in ("latents-old", "latents-new", "text-sd15-old", "engine"):
        (tmp_path / name).mkdir()
    for name in ("latents-old", "text-sd15-old", "engine"):
        aged(tmp_path / name, KEPT_DAYS + 1)
    aged(tmp_path / "latents-new", KEPT_DAYS - 1)
    EncodingCache(tmp_path / "latents-mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "engine",
        "latents-mine",
        "latents-new",
        "text-sd15-old",
    ]


def test_a_cache_that_is_used_stays(tmp_path: Path) -> None:
    EncodingCache(tmp_path / "latents-a").put("ab" * 32, {"latents": torch.ones(1)})
    aged(tmp_path / "latents-a", KEPT_DAYS + 1)
    cache = EncodingCache(tmp_path / "latents-a")
    EncodingCache(tmp_path / "latents-b")
    assert cache.get("ab" * 32) is not None

"""The bound on what one request may cost."""

import pytest

from components.errors import RequestError
from components.image.generation.cost import check_cost, cost
from components.settings import settings


def test_steps_times_area_times_chunks() -> None:
    assert cost(steps=4, area=1) == 4
    assert cost(steps=20, area=1, compares=True) == 40
    assert cost(steps=4, area=4, chunks=8) == 128


def test_the_limit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_cost(cost(steps=50, area=4, compares=True))
    with pytest.raises(RequestError, match=r"costs 800 .*at most 400.*KYARA_REQUEST_COST"):
        check_cost(cost(steps=100, area=4, chunks=2))
    monkeypatch.setenv("KYARA_REQUEST_COST", "10")
    settings.cache_clear()
    with pytest.raises(RequestError, match="at most 10"):
        check_cost(11)

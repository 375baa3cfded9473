"""`kyara bench service` on a tiny champion: every key is there, and the counts add up. No figure is judged."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.artifact import point
from components.errors import RecipeError, RequestError
from components.settings import settings
from flows.bench.load.clients import Load, percentile
from flows.bench.service import Options, run
from tests.promoted import home, tiny_version
from tests.tiny import RESOLUTION, tiny_sd15

QUICK = {"clients": [1, 4], "seconds": 0.5, "rounds": 2, "count": 1, "swaps": 2}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with home(tmp_path_factory.mktemp("bench")) as folder:
        point(tiny_version(settings().models_dir, "1").parent, "1")
        values = {
            "name": "tiny",
            "trigger": "kyarachar",
            "model": {"base": str(tiny_sd15()), "resolution": RESOLUTION},
            "reader": "portraits",
            "dataset": {"source": "nowhere"},
            "package": {"engine": "eager"},
        }
        file = folder / "tiny.yaml"
        file.write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
        yield file


def test_every_key_is_there_and_counts_add_up(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "service.json"
    metrics = run(str(recipe), out, overrides=QUICK)
    assert json.loads(out.read_text()) == json.loads(json.dumps(metrics))
    measured = [f"{kind}.{clients}" for kind in ("rps", "p50", "p95", "p99") for clients in (1, 4)]
    measured += [f"{server}.{kind}.4" for server in ("plain", "student") for kind in ("rps", "p50", "p95", "p99")]
    measured += ["bare.p50", "vs_plain", "vs_plain_equal_steps", "health_ms", "ready_s", "ready.first_s", "threads"]
    assert all(metrics[name] > 0 for name in measured)
    assert {"overhead", "swap_ms", "swap_cold_ms"} <= set(metrics)
    for name in ("statuses.1", "statuses.4", "plain.statuses.4", "student.statuses.4", "swap.statuses"):
        assert set(metrics[name]) == {"200"} and metrics[name]["200"] > 0
    assert metrics["vs_plain"] == metrics["rps.4"] / metrics["plain.rps.4"]
    assert (metrics["drain.rounds"], metrics["drain.lost"], metrics["health.failed"]) == (1, 0, 0)
    assert metrics["drain.statuses"]["200"] > 0 and set(metrics["drain.statuses"]) <= {"200", "429", "503"}


def test_what_cannot_be_measured(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="makes no pictures"):
        run("control-pose", tmp_path / "a.json")
    with pytest.raises(RequestError, match="modes 'all'"):
        run(str(recipe), tmp_path / "a.json", modes="all")
    for wrong in ({"clients": [0]}, {"clients": []}, {"seconds": "long"}, {"rounds": -1}):
        with pytest.raises(RecipeError, match="options"):
            run(str(recipe), tmp_path / "a.json", overrides=wrong)


def test_options_are_told_from_the_recipes() -> None:
    options, rest = Options.taken({"count": 3, "package": {"engine": "eager"}})
    assert options.count == 3 and rest == {"package": {"engine": "eager"}}


def test_loads_of_several_rounds_are_one() -> None:
    both = Load(seconds=[1.0, 2.0], window=2.0) + Load(seconds=[3.0], window=4.0)
    assert both.rate == 0.5 and both.told("4")["p95.4"] == 3.0
    assert [percentile([3.0, 1.0, 2.0], part) for part in (1, 50, 99)] == [1.0, 2.0, 3.0]
    assert percentile([], 50) is None and Load().rate == 0.0

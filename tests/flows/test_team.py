"""Machines of a team: a registry on PostgreSQL and S3, and processes with homes of their own that share it alone."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.ports import free_port
from flows.processes import child, wait_until
from tests import stages
from tests.machine import Machine, Refused, machine
from tests.storage import Bucket, Postgres, s3

BASE = b"weights" * 40_000


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with s3("team") as made:
        yield made


@pytest.fixture(scope="module")
def environment(
    postgres_server: Postgres, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """What every machine knows: the address of an MLflow server, and of the store that holds its files."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    known = {**os.environ, **bucket.environment, "KYARA_MLFLOW_URI": f"http://127.0.0.1:{port}"}
    store = ["--backend-store-uri", postgres_server.create("mlflow"), "--default-artifact-root", "s3://team/mlflow"]
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--no-serve-artifacts"]
    with child(
        ["mlflow", "server", *address, *store], log=folder / "log", environment=known, folder=folder, patience=1
    ) as server:
        wait_until(f"http://127.0.0.1:{port}/health", server, folder / "log")
        yield known


@pytest.fixture(scope="module")
def team(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    with ExitStack() as stack:
        yield [stack.enter_context(machine(tmp_path_factory.mktemp(name), environment)) for name in ("a", "b", "c")]


def test_a_promotes_b_follows_and_either_rolls_back(team: list[Machine], tmp_path: Path) -> None:
    a, b, c = team
    text, recipe = tmp_path / "text.txt", tmp_path / "letters.yaml"
    text.write_text("Banana", encoding="utf-8")
    recipe.write_text(f"name: letters\nmodality: toy\ndataset: {{source: {text}}}\n", encoding="utf-8")

    def answers() -> list[str]:
        return [each.ask("answer", modality="toy", recipe="letters", request={"count": 3}) for each in (a, b)]

    with pytest.raises(Refused, match=r"has no 'models:/letters@champion'"):
        b.ask("pull", reference="letters")
    assert a.ask("produce", file=str(recipe), overrides={})["version"] == "1"
    first = b.ask("pull", reference="models:/letters@champion")
    assert (first["version"], first["changed"]) == ("1", True)
    assert not b.ask("pull", reference="letters")["changed"]
    assert a.ask("produce", file=str(recipe), overrides={"train": {"letters": 2}})["version"] == "2"
    assert answers() == ["an", "anb"]
    assert b.ask("pull", reference="letters")["version"] == "2"
    assert answers() == ["an", "an"]

    assert b.ask("rollback", recipe="letters") == "1"
    assert answers() == ["an", "anb"]
    assert a.ask("pull", reference="letters")["version"] == "1"
    assert answers() == ["anb", "anb"]
    assert c.ask("rollback", recipe="letters", to="2") == "2"  # has no file of any version, and gets none
    assert c.ask("champion", modality="toy", recipe="letters") is None
    b.ask("follow", reference="letters@champion")
    until(lambda: b.ask("champion", modality="toy", recipe="letters") == "2")
    assert a.ask("pull", reference="letters")["version"] == "2" and answers() == ["an", "an"]
    assert a.ask("rollback", recipe="letters") == "1"
    until(lambda: b.ask("champion", modality="toy", recipe="letters") == "1")
    assert answers() == ["anb", "anb"]
    labels = a.ask("bento", reference="models:/letters@champion")
    assert labels["mlflow_version"] == "1" and labels["model_digest"]
    assert c.ask("pull", reference="letters:1")["version"] == c.ask("champion", modality="toy", recipe="letters") == "1"


def test_the_base_lies_in_the_store_once_and_what_arrives_is_verified(
    team: list[Machine], bucket: Bucket, tmp_path: Path
) -> None:
    a, b, _ = team
    (tmp_path / "base" / "unet").mkdir(parents=True)
    (tmp_path / "base" / "unet" / "weights.safetensors").write_bytes(BASE)
    (tmp_path / "base" / "model_index.json").write_text("{}", encoding="utf-8")
    model = {"base": str(tmp_path / "base")}

    def produce(seed: int) -> dict[str, object]:
        file = stages.write_recipe(tmp_path, "portrait", seed=seed, model=model)
        made: dict[str, object] = a.ask("produce", file=str(file), overrides={})
        return made

    produce(1)
    once = objects(bucket)
    assert len(once) == 2
    pulled = b.ask("pull", reference="portrait")
    assert contents(Path(pulled["folder"])) == contents(Path(str(produce(1)["folder"])))
    assert produce(2)["version"] == "2" and objects(bucket) == once

    # Altered, of the same length; then cut short. Nothing half there is pointed to, and the version before stays.
    (own,) = (
        key for key in bucket.names() if key.endswith("anime-lora-final/metadata.json") and has_seed(bucket, key, 2)
    )
    sound = bucket.client().get_object(Bucket=bucket.name, Key=own)["Body"].read()
    for damaged in (sound[:-1] + b" ", sound[:5]):
        bucket.client().put_object(Bucket=bucket.name, Key=own, Body=damaged)
        with pytest.raises(Refused, match="is not what was registered"):
            b.ask("pull", reference="portrait")
        assert b.ask("champion", modality="image", recipe="portrait") == "1"
        assert not Path(pulled["folder"]).with_name("2").exists()
    bucket.client().put_object(Bucket=bucket.name, Key=own, Body=sound)
    again = b.ask("pull", reference="portrait")
    assert again["version"] == "2" and b.ask("champion", modality="image", recipe="portrait") == "2"
    assert any("1 of" in line or "are not here yet" in line for line in again["said"])
    one, two = (Path(again["folder"]).with_name(number) / "base" / "unet" / "weights.safetensors" for number in "12")
    assert one.read_bytes() == two.read_bytes() == BASE and one.stat().st_ino == two.stat().st_ino

    # A file that was damaged here comes again.
    one.unlink()
    one.write_bytes(BASE[:-1] + b"!")
    assert b.ask("pull", reference="portrait:1")["version"] == "1" and one.read_bytes() == BASE


def until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited in vain")


def objects(bucket: Bucket) -> list[str]:
    return [key for key in bucket.names() if "/objects/" in key]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def has_seed(bucket: Bucket, key: str, seed: int) -> bool:
    return bool(json.loads(bucket.client().get_object(Bucket=bucket.name, Key=key)["Body"].read())["seed"] == seed)

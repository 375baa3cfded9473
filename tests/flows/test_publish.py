"""`kyara publish`: what may be published, what the folder holds, and what reaches a hub, a server on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components.artifact import MANIFEST, point, seal
from components.errors import ModelError, RequestError
from components.settings import REPOSITORY, settings
from flows.publish import publish
from flows.publishing.licences import licence_of, named_licences
from tests.flows.hub import TOKEN, hub
from tests.promoted import home, tiny_version

METRICS = {
    "lora.style": 0.97,
    "lora.style.interval": [0.92, 1.0],
    "lora.worst": 0.25,
    "lora.worst.name": "earrings=yes",
    "lcm4.adherence": 0.9,
    "speed.total": 17.2,
}


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A champion whose base lies beside an ATTRIBUTION.md."""
    with home(tmp_path_factory.mktemp("publish")) as folder:
        (folder / "data").mkdir()
        text = "| lorelei | CC0 1.0 |\n| micah | CC BY 4.0 |\n"
        (folder / "data" / "ATTRIBUTION.md").write_text(text, encoding="utf-8")
        yield version(folder)


def version(folder: Path, **lora: str) -> Path:
    """The next promoted version, whose LoRA says this of itself."""
    parent = settings().models_dir / "image" / "tiny"
    made = tiny_version(settings().models_dir, str(len(list(parent.glob("[0-9]*"))) + 1))
    facts = {"license": "CC0 1.0", "artist": "Ann", "rank": 4, "base": str(folder / "data" / "base"), **lora}
    (made / "anime-lora-final" / "metadata.json").write_text(json.dumps(facts))
    (made / "anime-lora-final" / "kohya.safetensors").write_bytes(b"kohya")
    (made / "metrics.json").write_text(json.dumps(METRICS))
    card = json.loads((made / "model.json").read_text())
    (made / "model.json").write_text(json.dumps({**card, "license": facts["license"]}))
    (made / MANIFEST).unlink()
    seal(made, "test", {})
    point(parent, made.name)
    return made


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("CC0 1.0", "cc0-1.0"),
        ("CC0-1.0", "cc0-1.0"),
        ("CC-BY-4.0", "cc-by-4.0"),
        ("CC0 1.0 AND CC BY 4.0", "cc-by-4.0"),
        ("MIT AND Apache-2.0 AND CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("CC BY-NC 4.0 AND CC BY 4.0", "cc-by-nc-4.0"),
    ],
)
def test_the_model_stands_under_the_heaviest_licence_of_its_pictures(statement: str, found: str) -> None:
    assert licence_of(statement, "Ann").hub == found


@pytest.mark.parametrize(
    ("statement", "artist", "why"),
    [
        ("", "Ann", "nobody says under which licence"),
        ("unknown", "Ann", "nobody says under which licence"),
        ("CC0 1.0 AND unknown", "Ann", "nobody says"),
        ("CC BY-ND 4.0", "Ann", "'CC BY-ND 4.0' of the training pictures forbids"),
        ("All rights reserved", "Ann", "forbids"),
        ("my own terms", "Ann", "'my own terms' of the training pictures is not one"),
        ("CC BY 4.0", "unknown", "asks to name the artist"),
        ("CC BY-SA 4.0 AND CC BY-NC-SA 4.0", "Ann", "cannot be met at once"),
        ("CC BY-SA 4.0 AND CC BY-NC 4.0", "Ann", "cannot be met at once"),
    ],
)
def test_a_licence_that_forbids_it_is_one_clear_sentence(statement: str, artist: str, why: str) -> None:
    with pytest.raises(RequestError, match=why) as refused:
        licence_of(statement, artist)
    assert refused.value.hint


def test_licences_are_found_in_an_attribution() -> None:
    assert named_licences("[CC BY 4.0](x), CC0 1.0, CC BY-NC-SA 3.0, CC BY 4.0") == [
        "CC BY 4.0", "CC BY-NC-SA 3.0", "CC0 1.0",
    ]  # fmt: skip


def test_a_dry_run_writes_the_folder_and_asks_nobody(champion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        made = publish("tiny", "someone/tiny", samples=False)
        assert server.asked == [] and made.url is None
    names = [name for name, _ in made.files]
    assert {
        "README.md",
        "ATTRIBUTION.md",
        "metrics.json",
        "pytorch_lora_weights.safetensors",
        "tiny.safetensors",
    } <= set(names)
    assert "student/pytorch_lora_weights.safetensors" in names and "base/model_index.json" in names
    assert made.folder == settings().base_dir / "out" / "publish" / "tiny" and all(size > 0 for _, size in made.files)


def test_the_card_says_what_it_is_how_good_and_whose(champion: Path) -> None:
    made = publish(to="someone/tiny", samples=False)
    text = (made.folder / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    # The base goes along, and work under CC BY 4.0 is in it.
    assert facts["license"] == "cc-by-4.0" and facts["instance_prompt"] == "kyarachar"
    assert facts["library_name"] == "diffusers" and "lcm" in facts["tags"]
    for told in (
        "| `lora.style` | 0.97 (0.92 to 1.00) |",
        "| `lora.worst` | 0.25, earrings=yes |",
        "| `speed.total` | 17.2x |",
        "Pictures by Ann.",
        "[ATTRIBUTION.md](ATTRIBUTION.md)",
        'snapshot_download("someone/tiny")',
        "pipeline.load_lora_weights(folder",
    ):
        assert told in body, told
    assert str(settings().base_dir) not in text and "None" not in body


def test_a_base_without_a_credit_stays_here(champion: Path) -> None:
    folder = version(settings().base_dir, base="/somewhere/secret/base")
    try:
        made = publish("tiny", samples=False)
        text = (made.folder / "README.md").read_text(encoding="utf-8")
        assert not (made.folder / "base").exists() and "/somewhere/secret" not in text
        assert yaml.safe_load(text.split("---\n")[1])["license"] == "cc0-1.0"
    finally:
        point(folder.parent, champion.name)


def test_what_forbids_it_is_refused_before_anything_is_written(champion: Path) -> None:
    folder = version(settings().base_dir, license="unknown")
    try:
        kept = settings().base_dir / "out" / "publish" / "tiny"
        before = sorted(kept.rglob("*")) if kept.is_dir() else []
        with pytest.raises(RequestError, match="nobody says under which licence"):
            publish("tiny", samples=False)
        assert (sorted(kept.rglob("*")) if kept.is_dir() else []) == before
        assert publish("tiny", license="CC0-1.0", samples=False).url is None
    finally:
        point(folder.parent, champion.name)


@pytest.mark.parametrize("name", ["../tiny", "other", "a/b"])
def test_only_a_champion_is_published(champion: Path, name: str) -> None:
    with pytest.raises(ModelError, match="has no champion"):
        publish(name, samples=False)


def test_a_wrong_name_of_a_repository_is_refused(champion: Path) -> None:
    with pytest.raises(RequestError, match="is no name on the hub"):
        publish("tiny", "some one/tiny/x", samples=False)


def push(url: str, token: str, *more: str) -> "subprocess.CompletedProcess[str]":
    told = {"HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-m", "flows.cli", "publish", "tiny", "--push", "--no-samples", *more]
    return subprocess.run(command, env={**os.environ, **told}, cwd=REPOSITORY, capture_output=True, text=True)


def test_a_push_sends_every_file(champion: Path) -> None:
    with hub() as server:
        done = push(server.url, TOKEN)
        assert done.returncode == 0, done.stderr
        assert f"pushed: {server.url}/someone/tiny" in done.stdout
    folder = settings().base_dir / "out" / "publish" / "tiny"
    here = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert server.files == here and server.messages == [f"Version {champion.name}, by Kyara"]
    # Without --to it goes under whoever pushes, and the card says so.
    assert b'snapshot_download("someone/tiny")' in server.files["README.md"]


def test_a_hub_that_refuses_is_one_sentence(champion: Path) -> None:
    with hub() as server:
        refused = push(server.url, "hf_wrong", "--to", "someone/tiny")
    assert refused.returncode == 1 and "did not take 'someone/tiny'" in refused.stderr
    assert "HF_TOKEN" in refused.stderr and "Traceback" not in refused.stderr
    assert push("http://127.0.0.1:1", TOKEN).returncode == 1

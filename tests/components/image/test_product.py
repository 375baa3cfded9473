"""Promoted models: assembling, reading, refusing what is damaged."""

import json
import shutil

import pytest

from components.errors import ArtifactError, ModelError
from components.image.product import assemble, read_model
from tests.promoted import tiny_recipe, tiny_version


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_version(tmp_path_factory.mktemp("models"), "3")


def test_a_promoted_model_is_self_contained(made):
    model = read_model(made, verify=True)
    assert (model.card.name, model.card.version, model.card.trigger, model.card.mode, model.card.steps) == (
        "tiny",
        "3",
        "kyarachar",
        "lora",
        4,
    )
    assert model.card.license == "CC0-1.0"
    assert model.base.base == str(made.resolve() / "base") and (made / "base" / "model_index.json").is_file()
    assert model.card.parents.keys() == {"train", "distill", "evaluate"}
    assert len(model.digest) == 64


def test_a_model_that_is_copied_away_still_loads(made, tmp_path):
    copy = shutil.copytree(made, tmp_path / "elsewhere")
    assert read_model(copy, verify=True).digest == read_model(made).digest


def test_a_changed_file_is_noticed(made, tmp_path):
    copy = shutil.copytree(made, tmp_path / "copy")
    weights = copy / "anime-lora-final" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="adapter_model"):
        read_model(copy, verify=True)


@pytest.mark.parametrize(
    ("content", "said"), [("", "model.json"), ("[]", "list"), ('{"format": 2, "name": "a"}', "format")]
)
def test_an_unreadable_card_is_named(tmp_path, content, said):
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(ModelError, match=said):
        read_model(tmp_path)


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"model\.json"):
        read_model(tmp_path)


def test_nothing_is_left_where_a_part_is_missing(made, tmp_path):
    stages = made.parent.parent.parent / ".stages-3"
    broken = shutil.copytree(stages / "distill", tmp_path / "distill")
    facts = json.loads((broken / "lcm_distilled_model" / "metadata.json").read_text())
    (broken / "lcm_distilled_model" / "metadata.json").write_text(json.dumps({**facts, "steps": 0}))
    with pytest.raises(ModelError, match="steps"):
        assemble(tiny_recipe(), {"train": stages / "train", "distill": broken}, tmp_path / "out")
    with pytest.raises(ModelError, match=r"metadata\.json"):
        assemble(tiny_recipe(), {"train": tmp_path, "distill": stages / "distill"}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_controlnets_travel_with_the_model(tmp_path):
    from components.artifact import open_sealed
    from components.image.generation.control.shelf import find

    folder = tmp_path / "pose"
    folder.mkdir()
    (folder / "control.json").write_text('{"kind": "pose", "base": "x"}')
    recipe = tiny_recipe().model_copy(update={"controlnets": (str(folder),)})
    stages = tiny_version(tmp_path, "1").parents[2]
    outputs = {name: stages / ".stages-1" / name for name in ("train", "distill", "evaluate")}
    made = assemble(recipe, outputs, tmp_path / "made").path
    assert open_sealed(made, verify=True) and find("pose", None, "x", made).place == str(made / "controlnets" / "pose")
    (folder / "control.json").unlink()
    with pytest.raises(ModelError, match=r"has no control.json"):
        assemble(recipe, outputs, tmp_path / "again")
    assert not (tmp_path / "again").exists()

"""The measures of modes on a tiny promoted model, and on pictures whose figures are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from components.errors import DataError
from components.image.evaluation import modes
from components.image.evaluation.modes import Subject
from components.image.families.bundle import load_bundle
from components.image.promptset import PromptItem
from components.portraits.plugin import open_judge
from components.runlog import ConsoleLog
from tests.components.image.generation.pictures import gradient, noisy
from tests.tiny import tiny_judge, tiny_model, tiny_sd15

ITEMS = (
    PromptItem("pink hair, smile, white background", {"hair_color": "pink", "expression": "smile"}, 1),
    PromptItem("blue hair, frown", {"hair_color": "blue", "expression": "frown"}, 2),
    PromptItem("green hair, laughing", {"hair_color": "green", "expression": "laugh"}, 3),
)


@pytest.fixture
def subject(tiny_generator, tmp_path):
    judge = open_judge(SimpleNamespace(style="", base_styles=()), {"judge": tiny_judge(tmp_path / "judge")})
    with ConsoleLog("test") as log:
        yield Subject(tiny_generator, judge, "lorelei", ITEMS, log, 50)


def test_edits_and_what_is_redrawn(subject):
    found = modes.edits(subject)
    assert {"edit.changed", "edit.changed.interval", "edit.changed.worst", "edit.changed.worst.name"} <= set(
        found.metrics.values
    )
    assert 0 <= found.metrics.values["edit.changed"] <= 1
    again = modes.redrawn(subject)
    assert again.metrics.values["inpaint.outside_equal"] == again.metrics.values["inpaint.outside_equal.worst"] == 1
    assert 0 <= again.metrics.values["img2img.reached"] <= 1


def test_animations(subject):
    found = modes.animations(subject)
    values = found.metrics.values
    assert values["animation.even"] >= 1 and values["animation.even.worst"] >= values["animation.even"]
    assert 0 <= values["animation.reached"] <= 1


def test_soundness_is_a_ratio_where_the_judge_tells_it(subject):
    class Sounding:
        """A judge that finds bright pictures sound."""

        def __init__(self, judge):
            self.judge = judge

        def look(self, images):
            self.bright = np.array([np.asarray(image).mean() for image in images])
            return self.judge.look(images)

        def scores(self, verdict, texts, training):
            return {"soundness": self.bright}

    metrics = modes.Metrics()
    judge = Sounding(subject.judge)
    told = Subject(subject.generator, judge, "", ITEMS, subject.log, 50)
    bright, dark = Image.new("RGB", (8, 8), (200,) * 3), Image.new("RGB", (8, 8), (100,) * 3)
    modes._soundness(metrics, "edit", told, [bright] * 2, [dark] * 2, ["a", "b"])
    assert metrics.values["edit.soundness_ratio"] == 0.5


def test_inversion_of_a_model_in_all_its_steps():
    bundle = load_bundle(tiny_model(tiny_sd15(v_prediction=True)))
    found = modes.inversion(bundle, [gradient(), noisy()], ["a", "b"], steps=4, resamples=50)
    assert found.metrics.values["invert.psnr_gap.worst"] >= found.metrics.values["invert.psnr_gap"]
    assert len(found.metrics.values["invert.psnr_gap.interval"]) == 2


def test_figures_of_known_pictures():
    black, grey = np.zeros((4, 4, 3)), np.full((4, 4, 3), 0.1)
    assert modes.psnr(grey, black) == pytest.approx(20)
    before, after = noisy(), noisy()
    after.paste((1, 2, 3), (0, 0, 16, 16))
    assert modes._equal_outside(before, after, modes._box(before, 0)) == 1
    assert modes._equal_outside(before, after, modes._box(before, 3)) == pytest.approx(1 - 256 / 768, abs=0.01)
    steps = [Image.new("RGB", (4, 4), (level,) * 3) for level in (0, 10, 20, 60)]
    assert modes._evenness(steps) == pytest.approx(4)
    assert np.isnan(modes._evenness([steps[0]] * 3))


def test_a_model_without_words_cannot_be_measured(subject, monkeypatch):
    monkeypatch.setattr(subject.generator, "reader", None)
    with pytest.raises(DataError, match="no vocabulary"):
        modes.edits(subject)

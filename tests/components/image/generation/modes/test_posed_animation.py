"""Nodding and tilting through the pose ControlNet, on a tiny promoted model."""

import pytest

from components.errors import RequestError
from components.image.generation.control.pose import Pose
from components.image.generation.keyframes import distance
from components.image.generation.modes import parse
from components.image.generation.motion import posed, swings
from components.image.generation.moving import read_moving
from components.image.generator import ImageGenerator
from tests.controlnets import loud_controlnet
from tests.promoted import tiny_version
from tests.tiny import tiny_sd15


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    version = tiny_version(tmp_path_factory.mktemp("posed"), "1")
    loud_controlnet(tiny_sd15(), version / "controlnets" / "pose", "pose")
    return ImageGenerator.load(version, engine="eager", verify=False)


def asked(**fields):
    return parse({"mode": "animate", "prompt": "smile", "seed": 3, "frames": 4, "motion": "tilt", "pose": {}, **fields})


@pytest.mark.parametrize("fields", [{}, {"motion": "nod"}, {"keys": [{"change": {"expression": "frown"}}]}])
def test_a_pose_moves_the_head(generator, fields):
    frames, facts = read_moving(generator.answer(asked(**fields, amount=30)).content)
    assert len(facts["places"]) == 4
    assert max(distance(frames[0], other) for other in frames[1:]) > 0


def test_a_swing_that_goes_too_far_is_refused(generator):
    with pytest.raises(RequestError, match="out of bounds"):
        generator.answer(asked(pose={"tilt": 50}, amount=30))
    with pytest.raises(RequestError, match="without a motion"):
        generator.answer(asked(motion="none", keys=[{"seed": 4}]))


def test_without_a_control_net_that_is_said(tiny_generator, home):
    with pytest.raises(RequestError, match="no ControlNet"):
        tiny_generator.answer(asked())


def test_poses_and_swings():
    assert swings(4, loop=True) == pytest.approx([0, 1, 0, -1], abs=1e-9)
    assert swings(3, loop=False) == pytest.approx([0, 1, 0], abs=1e-9)
    assert posed(Pose(tilt=5), "tilt", -15).tilt == -10
    low = posed(Pose(scale=0.5), "nod", 30).position
    assert low == pytest.approx((0.5, 0.5 + 0.56 * 0.5 * 0.5))

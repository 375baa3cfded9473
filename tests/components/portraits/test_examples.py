"""Portraits with known faces: the figure lies where the renderer drew."""

import random
from dataclasses import replace

import numpy as np
import pytest

from components.image.generation.control.pose import Keypoints, distance
from components.portraits.examples import EXAMPLES, Camera, portrait_face
from components.portraits.vocabulary import BASE_STYLES, STYLES
from components.portraits.world.renders import Portrait, render, sample_portrait, sample_portraits, svg


def of_style(style: str, **framing: str) -> Portrait:
    portrait = sample_portrait(random.Random(3), style)
    usual = {"position": "center", "scale": "normal", "tilt": "none"}
    return replace(portrait, attributes={**portrait.attributes, **usual, **framing})


def slope(face: Keypoints) -> float:
    """Of the line between the eyes, degrees clockwise."""
    across, down = face.in_order[1] - face.in_order[0]
    return float(np.degrees(np.arctan2(down, across)))


@pytest.mark.parametrize("style", STYLES)
def test_key_points_follow_the_attributes(style: str) -> None:
    plain = portrait_face(of_style(style))
    left, right = (portrait_face(of_style(style, position=side)) for side in ("left", "right"))
    assert left.points[4, 0] < plain.points[4, 0] - 0.05 and right.points[4, 0] > plain.points[4, 0] + 0.05
    near, far = (portrait_face(of_style(style, scale=scale)) for scale in ("close", "far"))
    eyes = [float(np.ptp(face.points[:2, 0])) for face in (far, plain, near)]
    assert eyes == sorted(eyes) and eyes[2] > 1.3 * eyes[0]
    tilted = portrait_face(of_style(style, tilt="right"))
    assert tilted.tilt == pytest.approx(15, abs=3)
    assert slope(tilted) - slope(plain) == pytest.approx(tilted.tilt - plain.tilt, abs=1)


@pytest.mark.parametrize("style", [style for style in STYLES if style != "toon-head"])
def test_a_mirrored_face_leads_on_the_other_side(style: str) -> None:
    left, right = (portrait_face(of_style(style, facing=side)) for side in ("left", "right"))
    assert left.mirrored and not right.mirrored
    eyes = [float(face.points[:2, 0].mean() - face.points[4, 0]) for face in (left, right)]
    assert eyes[0] < 0 < eyes[1], "eyes lie on the side to which the face looks"


@pytest.mark.parametrize("style", STYLES)
def test_eyes_and_mouth_are_dark_or_bright_where_they_are_said_to_be(style: str) -> None:
    """Around each eye and the mouth the picture changes more than on a cheek."""
    portrait = of_style(style)
    face, picture = portrait_face(portrait), np.asarray(render(portrait, 256).convert("L")).astype(float)

    def contrast(point: np.ndarray) -> float:
        column, row = (point * 256).astype(int)
        return float(np.ptp(picture[row - 7 : row + 8, column - 7 : column + 8]))

    assert min(contrast(point) for point in (face.points[0], face.points[1], face.points[2:4].mean(0))) > 25


def test_a_camera_is_read_from_the_document_and_written_back() -> None:
    document = svg(of_style("micah", facing="left", tilt="left"))
    camera = Camera.of(document)
    assert camera.mirror and camera.tilt == pytest.approx(-15, abs=3) and camera.written(360.0) in document
    other = Camera.of(svg(of_style("micah", facing="left", tilt="right")))
    assert camera.towards(other, 0.0) == camera and camera.towards(other, 1.0).tilt == pytest.approx(other.tilt)
    assert min(camera.tilt, other.tilt) < camera.towards(other, 0.5).tilt < max(camera.tilt, other.tilt)


def test_examples_are_decided_by_their_seed_and_held_out_ones_are_others() -> None:
    first, again, other = (list(EXAMPLES.draw(4, seed, 48)) for seed in (1, 1, 2))
    assert [row.picture.tobytes() for row in first] == [row.picture.tobytes() for row in again]
    assert first[0].picture.tobytes() != other[0].picture.tobytes()
    assert {row.group for row in first} == set(BASE_STYLES)
    assert {row.group for row in EXAMPLES.draw(2, 1, 48, groups=["lorelei"])} == {"lorelei"}
    for row in first:
        assert row.picture.size == (48, 48) and row.captions
        assert (row.face.points[4] > 0).all() and (row.face.points[4] < 1).all()
    held_out = list(EXAMPLES.draw(4, 1, 48, held_out=True))
    assert not {row.picture.tobytes() for row in held_out} & {row.picture.tobytes() for row in first}


def test_captions_do_not_tell_the_pose() -> None:
    told = " ".join(text for row in EXAMPLES.draw(12, 5, 32) for text in row.captions)
    for word in ("left", "right", "tilted", "close-up", "far away", "centered", "upright"):
        assert word not in told


def test_poses_lie_between_the_framings() -> None:
    """Not 27 of them: places and sizes that no plain portrait has."""
    tilts = {round(row.face.tilt) for row in EXAMPLES.draw(24, 5, 32, groups=["micah"])}
    plain = {round(portrait_face(each).tilt) for each in sample_portraits(24, 5, ["micah"])}
    assert len(tilts) > len(plain) / 2 and any(3 < abs(tilt) < 12 for tilt in tilts)
    assert not any(3 < abs(tilt) < 12 for tilt in plain)


def test_points_are_where_they_were_found_before() -> None:
    """The canvas' points are found once for each pair of eyes and mouth."""
    portrait = of_style("adventurer")
    assert distance(portrait_face(portrait).points, portrait_face(portrait).points).max() == 0

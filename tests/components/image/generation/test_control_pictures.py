"""What controls are shown: figures of a pose, line art; and how both are measured."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from components.image.generation.control.keypoints import UNSURE, KeypointNetwork, KeypointReader, means
from components.image.generation.control.pose import (
    HEAD,
    LEADING,
    MOUTH,
    TRAILING,
    Keypoints,
    Pose,
    distance,
    figure,
    placed,
    similarity,
)
from components.image.generation.control.sketch import agreement, drawn, find_lines, given


def middle(picture: Image.Image, color: tuple[int, int, int]) -> tuple[float, float]:
    """Where the colour is, on the mean, as shares of the sides."""
    rows, columns = np.nonzero((np.asarray(picture) == color).all(2))
    return (columns.mean() + 0.5) / picture.width, (rows.mean() + 0.5) / picture.height


def test_a_figure_shows_each_part_at_its_place() -> None:
    face = Pose(position=(0.45, 0.55), scale=1.2, tilt=20).keypoints()
    shown = figure(face, (256, 256))
    for place, color in ((0, LEADING), (1, TRAILING)):
        assert middle(shown, color) == pytest.approx(face.points[place], abs=0.01)
    assert middle(shown, MOUTH) == pytest.approx(face.points[2:4].mean(0), abs=0.02)
    assert middle(shown, HEAD) == pytest.approx(face.points[4], abs=0.03)


def test_numbers_move_scale_turn_and_mirror() -> None:
    plain = Pose().keypoints()
    moved = Pose(position=(0.6, 0.4)).keypoints()
    assert moved.points - plain.points == pytest.approx(np.full((5, 2), (0.1, -0.1)))
    larger = Pose(scale=1.5).keypoints()
    assert larger.points[0] - larger.points[4] == pytest.approx(1.5 * (plain.points[0] - plain.points[4]))
    turned = Pose(tilt=30).keypoints()
    assert turned.points[2, 0] < plain.points[2, 0], "clockwise: the mouth goes to the left"
    mirrored = Pose(mirror=True).keypoints()
    assert mirrored.mirrored and not plain.mirrored
    assert mirrored.points[:, 0] == pytest.approx(1 - plain.points[:, 0])
    assert mirrored.in_order[0, 0] < mirrored.in_order[1, 0] and plain.in_order[0, 0] < plain.in_order[1, 0]


def test_a_similarity_is_undone_by_its_inverse() -> None:
    points = np.array([[0.1, 0.2], [0.7, 0.9]])
    there = similarity((0.3, -0.2), 1.7, 25, mirror=True)
    back = np.linalg.inv(np.vstack([there, [0, 0, 1]]))[:2]
    assert placed(placed(points, there), back) == pytest.approx(points)


def test_key_points_as_json_and_back() -> None:
    face = Pose(tilt=5, mirror=True).keypoints()
    again = Keypoints.from_json(json.loads(json.dumps(face.as_json())))
    assert again.points == pytest.approx(face.points, abs=1e-4) and again.tilt == face.tilt
    for wrong in ({"points": [[0, 0]] * 4, "radii": [1, 1]}, {"points": [[0, 0]] * 5, "radii": [0, 1]}, {}, []):
        with pytest.raises((ValueError, KeyError, TypeError)):
            Keypoints.from_json(wrong)


def test_distance_is_in_pixels_of_128() -> None:
    assert distance(np.array([[0.5, 0.5]]), np.array([[0.5, 0.75]])) == pytest.approx([32.0])


def box(at: int = 30, color: str = "black") -> Image.Image:
    picture = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(picture).rectangle([at, 30, at + 60, 90], fill=color)
    return picture


def test_lines_are_the_edges_of_a_box_and_one_pixel_wide() -> None:
    lines = find_lines(box())
    rows, columns = np.nonzero(lines)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((30, 90, 30, 90), abs=1)
    assert lines[60].sum() == 2 and lines[:, 60].sum() == 2
    assert not find_lines(Image.new("RGB", (64, 64), "red")).any()


def test_colours_of_one_brightness_have_an_edge() -> None:
    picture = Image.new("RGB", (64, 64), (200, 0, 0))
    picture.paste((0, 102, 0), (0, 0, 32, 64))  # as bright
    assert find_lines(picture)[32].any()


def test_agreement_of_lines() -> None:
    lines = find_lines(box())
    assert agreement(lines, lines) == 1.0
    assert agreement(find_lines(box(31)), lines) == 1.0, "a pixel beside is near enough"
    assert 0.2 < agreement(find_lines(box(45)), lines) < 0.8
    nothing = np.zeros_like(lines)
    assert (agreement(nothing, lines), agreement(nothing, nothing)) == (0.0, 1.0)
    extra = lines.copy()
    extra[5:9] = True
    assert agreement(extra, lines) == pytest.approx(2 * 0.32 / 1.32, abs=0.05), "precision counts"


def test_a_drawing_is_white_on_black() -> None:
    lines = drawn(find_lines(box()))
    assert np.array_equal(np.asarray(given(lines)), np.asarray(lines))
    paper = lines.point(lambda value: 255 - value)
    assert np.array_equal(np.asarray(given(paper)), np.asarray(lines))


def test_the_mean_of_a_map_is_its_peak() -> None:
    maps = torch.zeros(1, 1, 32, 32)
    maps[0, 0, 8, 24] = 50.0
    points, spread = means(maps)
    assert points[0, 0].tolist() == pytest.approx([24.5 / 32, 8.5 / 32], abs=1e-3) and float(spread) < 0.01
    assert float(means(torch.zeros(1, 1, 32, 32))[1]) > UNSURE


def test_a_reader_is_kept_and_reads_alike(tmp_path) -> None:
    reader = KeypointReader(KeypointNetwork())
    reader.save(tmp_path)
    ((face, spread),) = reader.read([box()])
    ((again, _),) = KeypointReader.load(tmp_path).read([box()])
    assert again.points == pytest.approx(face.points, abs=0.01) and 0 < spread < 0.3

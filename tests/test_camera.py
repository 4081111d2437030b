"""The camera of the cube: what is near is in front, and nothing is cut."""

import itertools

import numpy as np
import pytest
from PIL import ImageColor

from siamjax.reports import camera

CORNERS = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
RED, BLUE = ("#d62728", "square"), ("#0072b2", "square")


@pytest.mark.parametrize("azimuth", range(-180, 180, 20))
def test_the_whole_cube_is_in_the_picture(azimuth):
    place, near = camera.project_points(CORNERS, camera.View(azimuth, 20), 720)
    assert place.min() > 0 and place.max() < 720
    above, below = place[:, 1].min(), 720 - place[:, 1].max()
    assert abs(above - below) < 0.1 * 720
    assert near.min() < 1 < near.max()


def test_the_middle_is_in_the_middle_and_up_is_up():
    points = [[0.5] * 3, [0.5, 0.5, 0.9]]
    (level, _), _ = camera.project_points(points, camera.View(-50, 0), 400)
    np.testing.assert_allclose(level, [200, 200])
    (middle, top), near = camera.project_points(points, camera.View(-50, 20), 400)
    assert near[0] == 1 and top[1] < middle[1] and abs(top[0] - 200) < 1e-9


def test_seen_along_an_axis_the_depth_is_hidden():
    place, near = camera.project_points(
        [[0.1, 0.5, 0.5], [0.9, 0.5, 0.5]], camera.View(0, 0), 100
    )
    np.testing.assert_allclose(place, 50)
    assert near[1] > near[0]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_point_hides_the_other(order):
    xyz = np.array([[0.1, 0.5, 0.5], [0.9, 0.5, 0.5]])[order]
    looks = [(RED, BLUE)[i] for i in order]
    picture = camera.render_cube(xyz, looks, camera.View(0, 0), 100)
    assert picture.getpixel((50, 50)) == ImageColor.getrgb(BLUE[0])


def test_no_point_is_an_empty_cube():
    picture = camera.render_cube(np.zeros((0, 3)), [], camera.View(-50, 20), 60)
    assert picture.size == (60, 60) and len(picture.getcolors()) > 2

"""Pictures are drawn, in the right colours, from whatever points there are."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from siamjax.reports import colours, drawing, plots
from siamjax.types import UsageError

pytest.importorskip("matplotlib")


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)


def share(path, colour):
    """Of the picture's pixels near a colour."""
    gap = np.abs(pixels(path) - ImageColor.getrgb(colour)).max(-1)
    return (gap < 30).mean()


def test_cube_shows_each_condition_in_its_colour(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "cube.png"
    names = ["normal", "blocked", "capacity_limit", "delay"] * 30
    plots.cube(path, rng.uniform(size=(120, 3)), names, novel=["delay"], title="x")
    for name in set(names):
        assert share(path, colours.of(names)[name]) > 3e-4
    assert share(path, "#6a3d9a") < 1e-5  # a colour that nothing has


@pytest.mark.parametrize("shape", [(9, 2), (9, 3), (9, 8), (1, 3), (0, 3), (1, 5)])
def test_cube_of_any_dimension_and_number(tmp_path, shape):
    points = np.random.default_rng(0).normal(size=shape)
    plots.cube(tmp_path / "cube.svg", points, ["normal"] * shape[0])
    assert (tmp_path / "cube.svg").read_text().startswith("<?xml")


def test_main_axes_keep_the_distances_of_flat_points():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(20, 3)) @ np.linalg.qr(rng.normal(size=(7, 7)))[0][:3]
    got = drawing.three(flat)
    want = np.linalg.norm(flat[:, None] - flat, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(got[:, None] - got, axis=-1), want)


def test_limits_hold_all_points():
    low, high = drawing.limits(np.array([[0.1, 0.9, 0.5]]))
    np.testing.assert_array_equal([low, high], [[0] * 3, [1] * 3])
    points = np.random.default_rng(0).normal(size=(50, 3))
    low, high = drawing.limits(points)
    assert (low < points).all() and (points < high).all()
    np.testing.assert_allclose(high - low, (high - low)[0])


def test_confusion_draws_names_that_are_no_markup(tmp_path):
    names = ["normal", "<script>alert(1)</script>", "$\\frac$ _^ ", "very long " * 12]
    shares = np.eye(4)
    shares[3] = np.nan
    plots.confusion(tmp_path / "c.png", shares, names, novel=names[2:], title="a $")
    assert share(tmp_path / "c.png", "#123f72") > 0.005


def test_wrong_input_is_a_clear_line(tmp_path):
    with pytest.raises(UsageError, match="3 points do not have 2 conditions"):
        plots.cube(tmp_path / "c.png", np.ones((3, 3)), ["a", "b"])
    with pytest.raises(UsageError, match="finite"):
        plots.cube(tmp_path / "c.png", np.full((1, 3), np.nan), ["a"])
    with pytest.raises(UsageError, match=r"not \[2, 2\]"):
        plots.confusion(tmp_path / "c.png", np.ones((3, 3)), ["a", "b"])

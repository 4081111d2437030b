"""Pictures are drawn, in the right colours, from whatever points there are."""

import base64
import sys

import numpy as np
import pytest
from PIL import Image, ImageColor

from siamjax.reports import colours, drawing, plots
from siamjax.types import SiamjaxError, UsageError

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
    plots.draw_cube(path, rng.uniform(size=(120, 3)), names, novel=["delay"], title="x")
    for name in set(names):
        assert share(path, colours.assign_colours(names)[name]) > 3e-4
    assert share(path, "#6a3d9a") < 1e-5  # a colour that nothing has


@pytest.mark.parametrize("shape", [(9, 2), (9, 3), (9, 8), (1, 3), (0, 3), (1, 5)])
def test_cube_of_any_dimension_and_number(tmp_path, shape):
    points = np.random.default_rng(0).normal(size=shape)
    plots.draw_cube(tmp_path / "cube.svg", points, ["normal"] * shape[0])
    assert (tmp_path / "cube.svg").read_text().startswith("<?xml")


def test_main_axes_keep_the_distances_of_flat_points():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(20, 3)) @ np.linalg.qr(rng.normal(size=(7, 7)))[0][:3]
    got = drawing.to_three_axes(flat)
    want = np.linalg.norm(flat[:, None] - flat, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(got[:, None] - got, axis=-1), want)


def test_limits_hold_all_points():
    low, high = drawing.cube_corners(np.array([[0.1, 0.9, 0.5]]))
    np.testing.assert_array_equal([low, high], [[0] * 3, [1] * 3])
    points = np.random.default_rng(0).normal(size=(50, 3))
    low, high = drawing.cube_corners(points)
    assert (low < points).all() and (points < high).all()
    np.testing.assert_allclose(high - low, (high - low)[0])


def test_confusion_draws_names_that_are_no_markup(tmp_path):
    names = ["normal", "<script>alert(1)</script>", "$\\frac$ _^ ", "very long " * 12]
    shares = np.eye(4)
    shares[3] = np.nan
    plots.draw_confusion(
        tmp_path / "c.png", shares, names, novel=names[2:], title="a $"
    )
    assert share(tmp_path / "c.png", "#123f72") > 0.005


def test_recall_is_drawn_where_it_lies(tmp_path):
    def part(mean):
        units = dict(window=dict(value=mean, low=mean - 0.1, high=mean + 0.1))
        recall = {
            "match": {"known": units},
            "simple": {"known": dict(window=dict(value=None, low=None, high=None))},
        }
        return dict(recall=recall, chance=0.25)

    def middle(mean):
        """Mean column of the pixels of the method's colour."""
        found = dict(
            main="match",
            methods=dict(match=False, simple=True),
            shots={"1": part(mean)},
        )
        plots.draw_recall(tmp_path / "recall.png", found)
        picture = np.asarray(Image.open(tmp_path / "recall.png").convert("RGB"), int)
        gap = np.abs(picture - ImageColor.getrgb(drawing.CURVE)).max(-1)
        return np.nonzero(gap < 40)[1].mean() / picture.shape[1]

    places = [middle(mean) for mean in (0.2, 0.5, 0.8)]
    assert places[2] > places[1] > places[0] + 0.05
    np.testing.assert_allclose(places[2] - places[1], places[1] - places[0], atol=0.01)


def test_traffic_is_blue_for_less_and_red_for_more(tmp_path):
    path, z = tmp_path / "traffic.png", np.zeros((4, 3), np.int8)
    z[:, 1], z[:, 2] = -127, 127
    window = dict(
        traffic=dict(
            largest=3.0, shape=[4, 3], data=base64.b64encode(z.tobytes()).decode()
        )
    )
    names = ["INVITE", "$a$ <b>", "long " * 20]

    def draw(rows, panels=1):
        panels = [("x: y at 4 s", window, rows)] * panels
        plots.draw_traffic(path, [*panels, None], names, clip=3.0, bin_s=0.5)
        return share(path, "#1f6fb4"), share(path, "#b0244f")

    less, more = draw([0, 1, 2])
    np.testing.assert_allclose(less, more, rtol=0.2)
    assert less > 0.05
    less, more = draw([0, 2])
    assert more > 5 * less  # of which the scale has a little


def test_without_matplotlib_there_is_a_clear_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SiamjaxError, match="pip install matplotlib"):
        plots.draw_cube(tmp_path / "c.png", np.ones((1, 3)), ["a"])


def test_wrong_input_is_a_clear_line(tmp_path):
    with pytest.raises(UsageError, match="3 points do not have 2 conditions"):
        plots.draw_cube(tmp_path / "c.png", np.ones((3, 3)), ["a", "b"])
    with pytest.raises(UsageError, match="finite"):
        plots.draw_cube(tmp_path / "c.png", np.full((1, 3), np.nan), ["a"])
    with pytest.raises(UsageError, match=r"not \[2, 2\]"):
        plots.draw_confusion(tmp_path / "c.png", np.ones((3, 3)), ["a", "b"])

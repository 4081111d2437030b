"""Pictures are drawn, in the right colours, from whatever points there are."""

import base64
import sys

import numpy as np
import pytest
from PIL import Image, ImageColor

from siamjax.reports import colours, drawing, page, plots
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
    got = drawing.to_main_axes(flat)
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


def draw_recall(path, means, chance=0.25):
    """Draws one learnt method for each mean recall, and a baseline without any."""
    recall = {
        str(mean): {"known": dict(window=dict(value=mean, low=mean - 0.1, high=mean))}
        for mean in means
    }
    nothing = dict(value=None, low=None, high=None)
    recall["simple"] = {"known": dict(window=nothing)}
    methods = {name: name == "simple" for name in recall}
    part = dict(recall=recall, chance=chance)
    plots.draw_recall(
        path, dict(main=str(means[0]), methods=methods, shots={"1": part})
    )


def test_recall_is_drawn_where_it_lies(tmp_path):
    path = tmp_path / "recall.png"

    def middles(means):
        """Mean column of the pixels of each method's colour, from the top."""
        draw_recall(path, means)
        picture = np.asarray(Image.open(path).convert("RGB"), int)
        gap = np.abs(picture - ImageColor.getrgb(drawing.CURVE)).max(-1)
        rows, columns = np.nonzero(gap < 40)
        group = np.cumsum(np.diff(rows, prepend=rows[0]) > 5)
        return [
            columns[group == g].mean() / picture.shape[1] for g in range(len(means))
        ]

    low, middle, high = middles([0.2, 0.5, 0.8])
    assert middle > low + 0.05
    np.testing.assert_allclose(high - middle, middle - low, atol=0.01)
    # Where all are high, the axis does not begin at 0: small differences are seen.
    low, high = middles([0.92, 0.98])
    assert high - low > 0.06


def test_names_that_are_cut_alike_are_told_apart():
    names = [f"{'a' * 40}{i}{'b' * 40}" for i in range(3)]
    texts = drawing.shorten_names([*names, "c", names[0]])
    assert list(texts) == [*names, "c"] and texts["c"] == "c"
    assert len(set(texts.values())) == 4 and max(map(len, texts.values())) <= 40
    assert [text[-4:] for text in texts.values()][1:3] == [" (2)", " (3)"]


def test_forty_captures_without_a_verdict_fit_on_a_screen(tmp_path):
    reason = "no verdict: no message read: 600 packets, not read: 600 pppoe (of PPPoE)"
    rows = [
        page.timeline(str(i), (), None, warning=reason, end_s=0.0) for i in range(40)
    ]
    plots.draw_timelines(tmp_path / "t.png", rows)
    width, height = Image.open(tmp_path / "t.png").size
    assert height < 1400 and width < 1800


def test_heads_show_each_condition_twice(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "heads.png"
    names = ["normal", "blocked", "delay"] * 20
    plots.draw_heads(path, rng.uniform(size=(60, 3)), rng.normal(size=(60, 8)), names)
    picture = np.asarray(Image.open(path).convert("RGB"), int)
    edges = [round(share * picture.shape[1]) for share in (0.45, 0.83)]
    for name, colour in colours.assign_colours(names).items():
        near = np.abs(picture - ImageColor.getrgb(colour)).max(-1) < 30
        cube, plane, _ = np.split(near, edges, 1)
        assert cube.sum() > 500 and plane.sum() > 500, name


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

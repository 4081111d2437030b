"""The film shows what the trace says, for as long as was asked."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageColor

from siamjax.reports import colours, film
from siamjax.reports.trace import Trace
from siamjax.types import SiamjaxError, UsageError

ffmpeg = pytest.importorskip("imageio_ffmpeg")
NAMES = ["normal", "blocked", "delay"] * 8
SCALARS = {"loss": ([10, 90], [1.0, 0.1]), "valid/known": ([90], [0.7])}


def traced(steps=(0, 10, 90), dim=3):
    """A clutter in the middle that parts: blocked to one corner, normal to another."""
    rng, count = np.random.default_rng(0), len(NAMES)
    corner = np.array([[0.05] * dim, [0.95] * dim, [0.5] * dim])
    share = np.linspace(0, 1, len(steps))[:, None, None]
    middle = 0.5 + 0.02 * rng.normal(size=(count, dim))
    points = (1 - share) * middle + share * corner[np.arange(count) % 3]
    about = dict(head="view", dim=dim, conditions=NAMES, novel=["delay"])
    return Trace(about, np.array(steps), points.astype(np.float32))


def test_frames_pass_through_the_trace_and_never_overshoot():
    shown = film.make_frames(traced(), 41 + film.STILL)
    np.testing.assert_allclose(shown.points[0], traced().points[0], atol=1e-6)
    np.testing.assert_allclose(shown.points[20], traced().points[1], atol=1e-6)
    np.testing.assert_allclose(shown.points[40], traced().points[2], atol=1e-6)
    assert (shown.points[41:] == shown.points[40]).all()
    assert shown.steps[0] == 0 and shown.steps[20] == 10 and shown.steps[-1] == 90
    assert (np.diff(shown.steps) >= 0).all()
    assert shown.points.min() >= 0 and shown.points.max() <= 1


@pytest.mark.parametrize("count", [1, 2, 30, 31, 100])
@pytest.mark.parametrize("steps", [(0,), (0, 5), (0, 1, 2, 9)])
def test_any_number_of_frames_ends_at_the_end(count, steps):
    shown = film.make_frames(traced(steps), count)
    assert len(shown.steps) == len(shown.points) == count
    assert shown.steps[-1] == steps[-1]


def test_points_of_more_dimensions_turn_as_one():
    trace = traced(dim=8)
    shown = film.make_frames(trace, 40).points[-1]
    want = np.linalg.norm(trace.points[-1][:3, None] - trace.points[-1][:3], axis=-1)
    got = np.linalg.norm(shown[:3, None] - shown[:3], axis=-1)
    np.testing.assert_allclose(got, want, atol=1e-5)


def height(picture, colour):
    """Mean row of the pixels of a colour inside the cube."""
    pixels = np.asarray(picture.convert("RGB"))[:, :760].astype(int)
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    rows, _ = np.nonzero(np.abs(pixels - rgb).max(-1) < 40)
    return rows.mean()


def decoded(path):
    """The frames of a film, `[M, HEIGHT, WIDTH, 3]`."""
    command = [ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path)]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, film.HEIGHT, film.WIDTH, 3)


def test_film_and_gif(tmp_path):
    mp4, gif = film.write_film(tmp_path / "new", traced(), SCALARS, count=12)
    with Image.open(gif) as moving:
        assert moving.n_frames == 5 and moving.size == (640, 360)
        moving.seek(4)
        pixels = np.asarray(moving.convert("RGB")).reshape(-1, 3).tolist()
        for colour in (colours.NORMAL, colours.BLOCKED):
            assert pixels.count(list(ImageColor.getrgb(colour))) > 5
    assert mp4.stat().st_size < 20e6 and gif.stat().st_size < 20e6
    shown = decoded(mp4)
    assert len(shown) == 12
    first, last = (Image.fromarray(shown[i]) for i in (0, -1))
    middle = height(first, colours.BLOCKED)
    blocked, normal = (height(last, c) for c in (colours.BLOCKED, colours.NORMAL))
    assert blocked < middle - 100  # to the upper corner
    assert normal > middle + 100  # to the lower one


def test_no_frame_is_a_clear_line(tmp_path):
    with pytest.raises(UsageError, match="needs frames, not 0"):
        film.write_film(tmp_path, traced(), {}, count=0)


def test_without_ffmpeg_there_is_a_clear_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(SiamjaxError, match="pip install imageio-ffmpeg"):
        film.write_film(tmp_path, traced(), {}, count=1)

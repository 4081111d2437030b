"""The trace comes back as it was written, also after a kill."""

import numpy as np
import pytest

from siamjax.reports import trace
from siamjax.types import UsageError

POINTS = np.random.default_rng(0).uniform(size=(60, 4, 3)).astype(np.float32)
ABOUT = dict(
    head="view",
    dim=3,
    conditions=["normal", "delay", "<b>", "é\t"],
    captures=["a", "b", "c", "d"],
    times=[0.0, 4.0, 8.0, 12.0],
    roles=["train", "train", "valid", "test"],
    novel=["delay"],
)


def write(workdir, first, last, **more):
    with trace.open_writer(workdir, first, **{**ABOUT, **more}) as writer:
        for step in range(first, last + 1):
            writer.append(step, POINTS[step])


def test_what_is_written_comes_back(tmp_path):
    write(tmp_path, 0, 9)
    got = trace.read_trace(tmp_path)
    assert got.about == ABOUT
    np.testing.assert_array_equal(got.steps, np.arange(10))
    np.testing.assert_array_equal(got.points, POINTS[:10])


@pytest.mark.parametrize("checkpoint", [0, 4])
def test_a_cut_run_has_the_trace_of_a_quiet_one(tmp_path, checkpoint):
    quiet, cut = tmp_path / "quiet", tmp_path / "cut"
    write(quiet, 0, 9)
    write(cut, 0, 6)
    with open(cut / trace.FILE, "ab") as file:
        file.write(b"half a record")
    np.testing.assert_array_equal(trace.read_trace(cut).steps, np.arange(7))
    write(cut, checkpoint, 9)
    for name in (trace.FILE, trace.ABOUT):
        assert (quiet / name).read_bytes() == (cut / name).read_bytes()


def test_other_windows_start_anew(tmp_path):
    write(tmp_path, 0, 9)
    write(tmp_path, 5, 6, captures=["a", "b", "c", "other"])
    np.testing.assert_array_equal(trace.read_trace(tmp_path).steps, [5, 6])


def test_rhythm_is_dense_early_and_ends_with_the_run():
    got = trace.choose_steps(800, 32)
    assert got[0] == 0 and got[-1] == 800 and len(got) == 33
    gaps = np.diff(got)
    assert gaps[0] == 1 and (np.diff(gaps) >= -1).all() and gaps[-1] > 40
    assert trace.choose_steps(3, 50) == [0, 1, 2, 3]
    assert trace.choose_steps(800, 0) == []


def test_no_trace(tmp_path):
    assert trace.read_trace(tmp_path) is None
    with trace.open_writer(tmp_path, 0, **ABOUT):
        pass
    assert trace.read_trace(tmp_path) is None


def test_points_of_another_shape_are_refused(tmp_path):
    with (
        pytest.raises(UsageError, match=r"\[4, 3\], not \[4, 2\]"),
        trace.open_writer(tmp_path, 0, **ABOUT) as writer,
    ):
        writer.append(1, POINTS[0, :, :2])

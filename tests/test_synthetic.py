"""The generator of counters: a function of its seed, with what it says inside."""

import numpy as np
import pytest

from configs import default
from siamjax.config import DataConfig, validate
from siamjax.data import prepared, synthetic
from siamjax.data.splits import open_splits
from siamjax.types import TEST, TRAIN, VALID, SiamjaxError, UsageError


def test_windows_are_a_function_of_the_seed():
    first, again = (
        synthetic.make_windows(3, sessions=4, conditions=3, repeats=2) for _ in "ab"
    )
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
    other = synthetic.make_windows(4, sessions=4, conditions=3, repeats=2)
    assert (first.counts != other.counts).any()
    assert first.counts.shape == (24, 24, 8) and (first.counts >= 0).all()
    pairs = list(zip(first.session.tolist(), first.condition.tolist()))
    assert {pairs.count((s, c)) for s in range(4) for c in range(3)} == {2}


def test_the_mean_is_the_law_and_the_spread_is_more_than_poisson():
    drawn = synthetic.make_windows(
        0, sessions=1, conditions=1, repeats=400, level=0.0, gain=0.0
    ).counts.reshape(-1)
    assert abs(drawn.mean() - synthetic.RATE) < 0.2
    # Variance of a Poisson draw of a gamma rate: rate + rate**2 / spread.
    wanted = synthetic.RATE + synthetic.RATE**2 / synthetic.SPREAD
    assert abs(drawn.var() / wanted - 1) < 0.05


def test_a_condition_changes_columns_and_normal_none():
    drawn = synthetic.make_windows(
        1, sessions=2, conditions=3, repeats=200, level=0.0, gain=0.0
    )
    mean = [drawn.counts[drawn.condition == c].mean((0, 1)) for c in range(3)]
    np.testing.assert_allclose(mean[0], synthetic.RATE, rtol=0.05)
    assert all((np.abs(m / synthetic.RATE - 1) > 0.2).any() for m in mean[1:])


def splits(folder, **data):
    if prepared.read_meta(folder) is None:
        prepared.write_data_set(folder, synthetic.make_data_set(0), {})
    config = default.get_config().data
    config.update(
        dir=str(folder),
        bin_s=1.0,
        bins=16,
        hop_s=8.0,
        novel=("condition 7",),
        novel_valid=("condition 6",),
        **data,
    )
    return open_splits(validate(DataConfig, config))


def test_a_data_set_opens_with_heavy_counters_and_baselines_of_its_own(tmp_path):
    got = splits(tmp_path / "made", baseline_s=24.0)
    assert got.counts.shape == (48, 120, 8) and not got.provenance.left_out
    assert [column.role for column in got.columns] == ["counter"] * 8
    # Levels of sessions lie far apart: a heavy tail, so log1p and the floor of logs.
    heavy = np.array([column.heavy for column in got.columns])
    floor = np.asarray(got.scaler.floor)
    assert heavy.any() and (floor[heavy] == np.float32(0.3)).all()
    assert len(np.unique(np.asarray(got.baseline.mean)[:, 0])) == 48
    assert set(got.conditions.names[-2:]) == {"condition 6", "condition 7"}
    assert got.windows_to_judge(TEST)[1] is None


def test_without_a_baseline_of_its_own_a_session_has_that_of_training(tmp_path):
    named = dict(test_captures=("session_04?",), valid_captures=("*_03?",))
    got = splits(tmp_path / "made", baseline_s=0.0, **named)
    assert got.sessions.role.tolist() == [TRAIN] * 30 + [VALID] * 10 + [TEST] * 8
    # Of training captures alone, and of these what is before a fault.
    normal = np.concatenate(
        [got.counts[i, : 120 if i % 8 == 0 else 48] for i in range(30)]
    )
    heavy = np.asarray(got.scaler.heavy)
    logs = np.where(heavy, np.log1p(normal), normal)
    for session in (0, 47):
        mean, deviation = (x[session] for x in got.baseline)
        np.testing.assert_allclose(mean, logs.mean(0), rtol=1e-4)
        np.testing.assert_allclose(deviation, logs.std(0), rtol=1e-3)
    windows, library = got.windows_to_judge(TEST)
    assert set(got.sessions.role[windows.session[library]]) == {TRAIN}
    assert set(got.sessions.role[windows.session[~library]]) == {TEST}
    novel = got.conditions.names.index("condition 7")
    assert novel in windows.condition[library]


def test_a_capture_with_two_roles_is_refused(tmp_path):
    with pytest.raises(UsageError, match="session_040 is in both"):
        splits(
            tmp_path / "made",
            baseline_s=0.0,
            test_captures=("session_04?",),
            valid_captures=("session_*",),
        )


def test_a_step_longer_than_a_bin_is_left_out_with_its_reason(tmp_path):
    prepared.write_data_set(
        tmp_path / "made", synthetic.make_data_set(0, sessions=8), {}
    )
    config = default.get_config().data
    config.update(dir=str(tmp_path / "made"), novel=(), novel_valid=())
    with pytest.raises(SiamjaxError, match="rows are 1 s apart, longer than"):
        open_splits(validate(DataConfig, config))

"""Splits: by capture, with nothing of a novel condition in training."""

import dataclasses

import numpy as np
import pytest

from siamjax.config import DataConfig, from_dict, validate
from siamjax.data import columns, counts, features, prepared, sampler
from siamjax.data.splits import open_splits
from siamjax.evaluation import one_shot
from siamjax.types import TEST, TRAIN, VALID, DataSet, Label, Session
from tests import small_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "prepared"
    small_data.write(path, captures=8)
    return path


@pytest.fixture(scope="module")
def splits(folder):
    return open_splits(from_dict(small_data.config(folder)).data)


def condition(name):
    return name.rsplit("_", 1)[0]


def test_each_capture_has_one_role_and_each_known_condition_every_role(splits):
    roles = dict(zip(splits.sessions.names, splits.sessions.role))
    for known in ("normal", "blocked", "overload"):
        own_roles = [role for name, role in roles.items() if condition(name) == known]
        assert [own_roles.count(role) for role in (TRAIN, VALID, TEST)] == [4, 2, 2]
    assert {r for name, r in roles.items() if condition(name) == "busy"} == {TEST}
    assert {r for name, r in roles.items() if condition(name) == "slow"} == {VALID}


@pytest.mark.parametrize(
    ("captures", "expected"),
    [(1, [TRAIN]), (2, [TEST, TRAIN]), (3, [TEST, VALID, TRAIN])],
)
def test_few_captures_of_a_known_condition_train_first(tmp_path, captures, expected):
    small_data.write(tmp_path / "p", captures)
    got = open_splits(from_dict(small_data.config(tmp_path / "p")).data)
    roles = dict(zip(got.sessions.names, got.sessions.role))
    for known in ("normal", "blocked", "overload"):
        assert [roles[f"{known}_{i}"] for i in range(captures)] == expected
    assert {roles[f"busy_{i}"] for i in range(captures)} == {TEST}


def test_over_the_folds_each_capture_is_in_the_test_once(folder):
    seen = []
    for fold in range(4):
        config = small_data.config(folder).data
        config.update(
            test_fold=fold, valid_fold=(fold + 1) % 4, novel=(), novel_valid=()
        )
        sessions = open_splits(validate(DataConfig, config)).sessions
        roles = zip(sessions.names, sessions.role)
        seen += [name for name, role in roles if role == TEST]
    assert sorted(seen) == sorted(sessions.names)


def test_training_sees_no_window_of_a_novel_condition_nor_of_its_captures(splits):
    known = splits.conditions.known
    chosen = splits.window_mask(TRAIN, known)
    table = sampler.sampling_table(
        splits.windows, chosen, conditions=len(splits.conditions.names)
    )
    rows = np.asarray(table.rows[: table.windows.sum()])
    assert len(rows) == chosen.sum() > 0
    names = {condition(splits.sessions.names[s]) for s in splits.windows.session[rows]}
    assert names == {"normal", "blocked", "overload"}
    assert (splits.windows.condition[rows] < len(splits.conditions.known)).all()


def test_baseline_scaler_and_columns_depend_on_no_split_and_no_fault(folder, splits):
    config = small_data.config(folder).data
    config.update(novel=("blocked", "overload"), novel_valid=(), test_fold=2)
    other = open_splits(validate(DataConfig, config))
    assert other.columns == splits.columns
    for a, b in zip(other.baseline, splits.baseline):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(other.scaler, splits.scaler):
        np.testing.assert_array_equal(a, b)
    # No bin of a fault (from 30 s on) reaches a baseline (12 s) or a window that
    # touches it.
    assert (splits.windows.start >= 24).all()
    assert all(x.onset_s >= 12 for labels in splits.sessions.labels for x in labels)


def test_codes_of_held_out_conditions_alone_keep_their_columns(tmp_path):
    """Folding what training never saw into `other` costs the baseline a quarter."""
    kinds = (*small_data.KINDS, "INVITE/480", "REGISTER/403", "BYE/481")
    faults = {"gone": 6, "forbidden": 7, "lost": 8}
    sessions = [
        s for s in small_data_sessions() if condition(s.name) in ("normal", "blocked")
    ]
    for name, kind in faults.items():
        for i in range(4):
            base = small_data.session(f"{name}_{i}", "normal", 1000 + 10 * kind + i)
            late = base.events.time_ns > small_data.ONSET_S * 1e9
            chosen = base.events.kind.copy()
            chosen[late & (chosen == 1)] = kind
            label = Label(name, small_data.ONSET_S, np.inf)
            sessions.append(
                base._replace(events=base.events._replace(kind=chosen), labels=(label,))
            )
    prepared.write_data_set(tmp_path / "p", DataSet(tuple(sessions), kinds, {}), {})
    config = small_data.config(tmp_path / "p").data
    config.update(novel=tuple(faults), novel_valid=())
    splits = open_splits(validate(DataConfig, config))
    index = {column.name: i for i, column in enumerate(splits.columns)}
    assert splits.columns == columns.SIP
    for name, code in (("gone", "480"), ("forbidden", "403"), ("lost", "481")):
        faulty = splits.windows_of(TEST, [name])
        inside = [
            splits.counts[s, b : b + 16, index[code]]
            for s, b in zip(faulty.session, faulty.start)
        ]
        assert np.mean(inside) > 1
        trained = splits.counts[splits.sessions.role == TRAIN][:, :, index[code]]
        assert trained.sum() == 0


def small_data_sessions():
    return [
        small_data.session(f"{name}_{i}", name, 7 * i + len(name))
        for name in ("normal", "blocked")
        for i in range(4)
    ]


def test_shuffled_labels_of_the_test_windows_give_chance(splits):
    windows = splits.windows_of(TEST)
    points = np.nan_to_num(splits.counts[windows.session, windows.start]).astype(float)
    rng = np.random.default_rng(0)
    means = [
        one_shot.recognise(
            points,
            rng.permutation(windows.condition),
            windows.session,
            draws=20,
            seed=i,
        ).mean
        for i in range(20)
    ]
    classes = len(np.unique(windows.condition))
    assert abs(np.mean(means) - 1 / classes) < 0.05


def test_captures_that_cannot_be_used_are_said_and_left_out(tmp_path):
    good = small_data_sessions()
    early = good[-1]._replace(name="early", labels=(Label("blocked", 3.0, np.inf),))
    short = good[0]._replace(name="short", span_s=15.0)
    every = (*good, early, short)
    prepared.write_data_set(tmp_path / "p", DataSet(every, small_data.KINDS, {}), {})
    config = small_data.config(tmp_path / "p").data
    config.update(novel=(), novel_valid=())
    splits = open_splits(validate(DataConfig, config))
    assert len(splits.sessions.names) == len(good)
    reasons = "\n".join(splits.provenance.left_out)
    assert (
        "early: blocked begins at 3.0 s" in reasons
        and "short: 15.0 s is too short" in reasons
    )


def test_units_of_counters_come_from_normal_bins_of_training_in_blocks(
    tmp_path, monkeypatch
):
    rng = np.random.default_rng(0)
    values = rng.lognormal(2, 1, (12, 90, 3)).astype(np.float32)
    values[:, 40:] += 5000.0  # the fault
    sessions = tuple(
        Session(
            f"s{i}",
            90.0,
            (Label("a", 40.0, np.inf),) if i % 2 else (),
            None,
            prepared.to_series(rows if i % 2 else rows[:80], 10**9),
        )
        for i, rows in enumerate(values)
    )
    prepared.write_data_set(
        tmp_path / "set", DataSet(sessions, ("x", "y", "z"), {}), {}
    )
    config = from_dict(small_data.config(tmp_path / "set")).data
    changed = dict(bin_s=1.0, bins=8, baseline_s=20.0, novel=(), novel_valid=())
    config = dataclasses.replace(config, **changed)
    whole = open_splits(config)
    trains = whole.sessions.role == TRAIN
    normal = [
        rows[:40] if i % 2 else rows[:80]
        for i, rows in enumerate(values)
        if trains[whole.sessions.names.index(f"s{i}")]
    ]
    heavy = features.find_heavy_tailed([np.concatenate(normal)])
    assert 0 < heavy.sum()
    unit = features.column_units([np.concatenate(normal)], heavy)
    np.testing.assert_array_equal(whole.scaler.floor, config.floor * unit)
    monkeypatch.setattr(counts, "BLOCK", 7)
    in_blocks = open_splits(dataclasses.replace(config, counts_dir=str(tmp_path)))
    np.testing.assert_array_equal(in_blocks.scaler.floor, whole.scaler.floor)
    np.testing.assert_array_equal(in_blocks.scaler.heavy, whole.scaler.heavy)

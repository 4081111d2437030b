"""What a run was trained on stays what it was, whatever becomes of the data set."""

import numpy as np
import pytest

from siamjax.config import DataConfig, from_dict, validate
from siamjax.data import columns, identity, prepared
from siamjax.data.identity import Capture, Trained
from siamjax.data.splits import open_splits
from siamjax.inference import runs
from siamjax.training import provenance
from siamjax.types import (
    NORMAL,
    TEST,
    TRAIN,
    VALID,
    Baseline,
    DataSet,
    Label,
    Session,
    UsageError,
)
from tests import small_data

BEFORE = {
    "a": Capture("a1", "A", TRAIN),
    "b": Capture("b1", "B", VALID),
    "c": Capture("c1", "C", TEST),
    "d": Capture("d1", "D", ""),
}


def trained(**fields):
    run = Trained("runs/set", "whole", BEFORE, (NORMAL,), 1, columns.SIP, None, None)
    return run._replace(**fields)


def roles(captures, folder="runs/set"):
    now = {
        name: Capture(sha256, sha256[0].upper()) for name, sha256 in captures.items()
    }
    return identity.roles_of_run(now, trained(), folder)


def test_the_same_captures_keep_their_roles():
    got = roles(dict(a="a1", b="b1", c="c1", d="d1"))
    assert got == identity.Roles(dict(a=TRAIN, b=VALID, c=TEST, d=TEST), (), ("d",), ())


def test_a_capture_under_another_name_keeps_its_role_and_is_not_gone():
    got = roles(dict(a2="a1", c="b1", b="c1"))
    assert got.role == dict(a2=TRAIN, c=VALID, b=TEST)
    assert got.new == got.gone == got.left_out == ()


def test_what_is_new_is_for_the_test_and_what_is_gone_is_said():
    got = roles(dict(a="a1", e="e1"))
    assert got.role == dict(a=TRAIN, e=TEST)
    assert (got.new, got.gone) == (("e",), ("b", "c"))


@pytest.mark.parametrize("name", ["a", "other"])
def test_a_recording_with_other_labels_is_left_out_where_it_was_trained_on(name):
    got = roles({name: "a2", "b": "b2", "c": "c2"})
    assert got.role == dict(c=TEST) and got.new == ("c",)
    assert got.left_out == (
        f"{name}: it changed since the run used it for train",
        "b: it changed since the run used it for valid",
    )


def test_names_mean_something_in_the_folder_of_the_training_alone():
    assert roles(dict(a="x1")).role == {}
    assert roles(dict(a="x1"), "runs/other").role == dict(a=TEST)
    assert roles(dict(x="a2"), "runs/other").role == {}
    assert roles(dict(a="x1"), "runs/other").gone == ()


def test_copies_of_a_recording_have_one_role():
    captures = {n: Capture(n, r) for n, r in dict(a="A", b="B", c="A").items()}
    got = identity.share_among_copies(dict(a=TRAIN, b=TEST, c=TEST), captures)
    assert got == dict(a=TRAIN, b=TEST, c=TRAIN)


def test_what_differs_is_told_in_a_line():
    captures = {name: Capture(f"{name}2", "") for name in "bxyz"}
    assert identity.describe_changes(BEFORE, captures) == [
        "1 capture is changed: b",
        "3 captures are added: x, y, z",
        "3 captures are gone: a, c, d",
    ]
    captures = BEFORE | {"a": BEFORE["a"]._replace(role=TEST)}
    assert identity.describe_changes(BEFORE, captures) == [
        "1 capture is given another role: a"
    ]
    assert identity.list_names("abcdefg") == "a, b, c, d, e, 2 more"


@pytest.mark.parametrize(
    ("kinds", "growing", "line"),
    [
        (("rx", "tx"), ("tx",), None),
        (("rx",), (), "it lacks tx"),
        (("rx", "tx", "cpu"), ("tx",), "it adds cpu"),
        (("tx", "rx"), ("tx",), "in another order"),
        (("rx", "tx"), (), "it differs in whether to use the growth of tx"),
    ],
)
def test_other_counters_are_refused(kinds, growing, line):
    table = columns.counter_columns(("rx", "tx"), (True, False), ("tx",))
    series = prepared.to_series(np.zeros((4, len(kinds))), 10**9)
    data_set = DataSet(
        (Session("a", 4.0, (), None, series),), kinds, dict(growing=growing)
    )
    if line is None:
        identity.check_columns(data_set, trained(columns=table), "dir")
        return
    with pytest.raises(UsageError, match=line):
        identity.check_columns(data_set, trained(columns=table), "dir")
    with pytest.raises(UsageError, match="has counters, the run was trained on event"):
        identity.check_columns(data_set, trained(), "dir")


@pytest.fixture(scope="module")
def sessions():
    return [
        small_data.session(f"{name}_{i}", name, 10 * i + len(name))
        for name in ("normal", "blocked", "overload", "busy", "slow")
        for i in range(4)
    ]


def opened(folder, sessions, before=None):
    prepared.write_data_set(folder, DataSet(tuple(sessions), small_data.KINDS, {}), {})
    return open_splits(from_dict(small_data.config(folder)).data, before)


def remembered(splits, folder):
    return Trained(
        str(folder),
        splits.provenance.sha256,
        splits.provenance.captures,
        splits.conditions.names,
        len(splits.conditions.known),
        splits.columns,
        splits.scaler,
        splits.baseline,
    )


def test_a_run_knows_the_ports_at_which_its_data_was_read(tmp_path, sessions):
    ports = {"radius": [18120]}
    meta = {"options": {"decode_as": ports}}
    data_set = DataSet(tuple(sessions), small_data.KINDS, meta)
    prepared.write_data_set(tmp_path / "p", data_set, {})
    config = from_dict(small_data.config(tmp_path / "p"))
    splits = open_splits(config.data)
    saved = provenance.checkpoint_meta(config, splits, None, tmp_path / "run")
    assert runs._trained("p", saved, splits.columns).ports == ports
    del saved["data"]["decode_as"]  # of an older version
    assert runs._trained("p", saved, splits.columns).ports == {}


def test_captures_of_one_recording_are_not_parted(tmp_path, sessions):
    """Under another name, and with other labels, it would be trained on and tested."""
    copy = sessions[7]._replace(name="blocked_35")
    other = sessions[6]._replace(name="a", labels=(Label("overload", 31.0, np.inf),))
    splits = opened(tmp_path / "p", [*sessions, copy, other])
    role = {name: capture.role for name, capture in splits.provenance.captures.items()}
    assert role["blocked_35"] == role["blocked_3"]
    assert role["a"] == role["blocked_2"]
    assert set(role.values()) == {TRAIN, VALID, TEST}


def test_a_run_has_its_roles_scaler_and_conditions_on_data_that_grew(
    tmp_path, sessions
):
    folder = tmp_path / "p"
    first = opened(folder, sessions)
    before = remembered(first, folder)
    # Names that come first move all others to another fold.
    more = [
        small_data.session(f"{name}_", name, 1000 + len(name))
        for name in ("normal", "blocked", "overload", "busy", "slow")
    ]
    rare = more[1]._replace(name="rare", labels=(Label("rare", 30.0, np.inf),))
    rare = rare._replace(events=more[2].events)
    dealt_anew = opened(folder, [*sessions, *more, rare])
    moved = [
        name
        for name, capture in first.provenance.captures.items()
        if dealt_anew.provenance.captures[name].role != capture.role
    ]
    assert moved
    got = open_splits(from_dict(small_data.config(folder)).data, before)
    captures = first.provenance.captures
    for name, capture in captures.items():
        assert got.provenance.captures[name] == capture
    roles = zip(got.sessions.names, got.sessions.role)
    tested = {name for name, role in roles if role == TEST}
    assert not tested & {n for n, c in captures.items() if c.role != TEST}
    assert set(got.provenance.new) == {s.name for s in (*more, rare)} <= tested
    assert got.conditions.names == (*first.conditions.names, "rare")
    assert got.conditions.novel == ("busy", "rare")
    assert got.conditions.known == first.conditions.known
    assert got.scaler is not None and got.columns == first.columns
    index = [got.sessions.names.index(name) for name in first.sessions.names]
    for a, b in zip(got.baseline, first.baseline):
        np.testing.assert_array_equal(a[index], b)


def test_one_baseline_of_all_is_that_of_the_training(tmp_path, sessions):
    folder, config = tmp_path / "p", small_data.config(tmp_path / "p").data
    config.update(baseline_s=0.0)
    prepared.write_data_set(folder, DataSet(tuple(sessions), small_data.KINDS, {}), {})
    first = open_splits(validate(DataConfig, config))
    tested = [s for s in sessions if first.provenance.captures[s.name].role == TEST]
    prepared.write_data_set(folder, DataSet(tuple(tested), small_data.KINDS, {}), {})
    got = open_splits(validate(DataConfig, config), remembered(first, folder))
    assert set(got.sessions.role) == {TEST}
    assert len(got.provenance.gone) == len(sessions) - len(tested)
    want = Baseline(*(x[0] for x in first.baseline))
    np.testing.assert_array_equal(got.baseline.mean[0], want.mean)
    np.testing.assert_array_equal(got.baseline.deviation[0], want.deviation)

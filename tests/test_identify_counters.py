"""A table of counters, named: what training read of it is what identification reads."""

import csv
import types

import numpy as np
import pandas as pd
import pytest

from configs import default
from siamjax.data import from_counters, splits, synthetic
from siamjax.data.local_reading import LocalReader
from siamjax.identification import (
    comparing,
    decide,
    examples,
    readings,
    references,
    rules,
    sessions,
)
from siamjax.types import SiamjaxError, UsageError

STEP_S, CONDITIONS = 60, 3


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder of CSVs a minute of the packaged generator, the last column growing."""
    folder = tmp_path_factory.mktemp("counters")
    (folder / "tables").mkdir()
    data_set = synthetic.make_data_set(
        7,
        sessions=12,
        conditions=CONDITIONS,
        bins=60,
        onset=30,
        columns=4,
        strength=2.0,
    )
    with open(folder / "labels.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "start", "end", "condition"))
        for session in data_set.sessions:
            values = session.series.values.copy()
            values[:, -1] = np.cumsum(values[:, -1]) + 1e9
            frame = pd.DataFrame(values, columns=data_set.kinds)
            frame.insert(0, "time", np.arange(len(frame)) * STEP_S)
            frame.to_csv(folder / "tables" / f"{session.name}.csv", index=False)
            name = session.labels[0].condition if session.labels else "normal"
            start = 30 * STEP_S if session.labels else ""
            rows.writerow((f"{session.name}.csv", start, "", name))
    from_counters.prepare_counters(
        folder / "tables",
        folder / "labels.csv",
        folder / "data",
        reader=LocalReader(1),
        say=lambda line: None,
    )
    return folder


def config(tables, *, baseline_s=600.0):
    counters_config = default.get_config()
    counters_config.data.update(
        dir=str(tables / "data"),
        bin_s=60.0,
        bins=8,
        hop_s=120.0,
        clip=3.0,
        baseline_s=baseline_s,
        novel=(),
        novel_valid=(),
    )
    return counters_config


def opened(config):
    """The part of a run that reading needs, and the splits it was made of."""
    read = splits.open_splits(config.data)
    run = types.SimpleNamespace(
        config=config,
        columns=read.columns,
        ports={},
        scaler=read.scaler,
        normal=read.baseline,
        deciding=types.SimpleNamespace(whitening=None, training=None, normal_bins=None),
    )
    return run, read


@pytest.mark.parametrize("baseline_s", [600.0, 0.0])
def test_a_bare_table_is_read_as_in_training(tables, tmp_path, baseline_s):
    run, read = opened(config(tables, baseline_s=baseline_s))
    assert [column.grows for column in read.columns] == [False, False, False, True]
    for i in (0, 7):
        name = f"{read.sessions.names[i]}.csv"
        frame = pd.read_csv(tables / "tables" / name)
        # Columns in another order, and one more: the same.
        frame["more"] = 1
        frame[["time", *sorted(frame.columns[1:], reverse=True)]].to_csv(
            tmp_path / name, index=False
        )
        for path in (tables / "tables" / name, tmp_path / name):
            traffic = sessions.read_traffic(path, run)
            np.testing.assert_array_equal(traffic.counts, read.counts[i])
            for got, wanted in zip(traffic.baseline, read.baseline):
                np.testing.assert_allclose(got, np.asarray(wanted)[i], rtol=1e-6)


def test_what_a_table_lacks_is_not_measured(tables, tmp_path):
    run, read = opened(config(tables))
    frame = pd.read_csv(tables / "tables" / f"{read.sessions.names[0]}.csv")
    frame.drop(columns="counter 1").to_csv(tmp_path / "less.csv", index=False)
    traffic = sessions.read_traffic(tmp_path / "less.csv", run)
    assert traffic.warnings == ("nothing was measured of 1 of 4 columns: counter 1",)
    assert np.isnan(traffic.counts[:, 1]).all()
    np.testing.assert_array_equal(traffic.counts[:, 0], read.counts[0, :, 0])
    assert np.isfinite(traffic.baseline.mean).all()


@pytest.mark.parametrize(
    "frame, reason",
    [
        (dict(time=range(0, 6000, 60), load=range(100)), "none of the 4 columns"),
        ({"time": range(0, 60000, 600), "counter 1": range(100)}, "600 s apart"),
        ({"time": range(0, 900, 60), "counter 1": range(15)}, "too short"),
    ],
)
def test_a_table_that_cannot_be_named_says_why(tables, tmp_path, frame, reason):
    run, _ = opened(config(tables))
    pd.DataFrame(frame).to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(SiamjaxError, match=f"odd.csv.*{reason}"):
        sessions.read_traffic(tmp_path / "odd.csv", run)


def spans_of(run, traffic, library, rule):
    """The timeline of a session."""
    return decide.find_spans(comparing.compare_traffic(run, traffic, library), rule)


def mean_feature(run):
    """The run with the mean feature of a window in place of an encoder."""

    run.embed = lambda counts, baseline, session=None: {}
    run.to_points = lambda heads, windows: windows.mean(1)
    return run


def without(frame, first, end):
    """A table in which nothing was measured in some rows."""
    frame = frame.copy()
    frame.loc[first : end - 1, frame.columns[1:]] = np.nan
    return frame


@pytest.mark.parametrize(
    ("first", "end", "reason"),
    [(0, 60, "no value read"), (0, 10, "nothing read in its first 600 s")],
)
def test_a_table_without_a_value_has_no_verdict(tables, tmp_path, first, end, reason):
    run, read = opened(config(tables))
    frame = pd.read_csv(tables / "tables" / f"{read.sessions.names[0]}.csv")
    # A column that training does not know is no evidence.
    odd = without(frame, first, end).assign(more=1.0)
    odd.to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(readings.NoEvidence, match=f"odd.csv: {reason}"):
        sessions.read_traffic(tmp_path / "odd.csv", run)


def test_windows_in_which_nothing_was_measured_get_no_name(tables, tmp_path):
    run, read = opened(config(tables))
    mean_feature(run)
    frame = pd.read_csv(tables / "tables" / f"{read.sessions.names[0]}.csv")
    without(frame, 25, 45).to_csv(tmp_path / "odd.csv", index=False)
    traffic = sessions.read_traffic(tmp_path / "odd.csv", run)
    assert "nothing was measured from 1500.0 to 2700.0 s" in traffic.warnings
    table = tables / "tables" / f"{read.sessions.names[0]}.csv"
    place = examples.Place("normal", table, 0.0)
    rule = rules.Rule(unknown=100.0, penalty=1.0, onset_s=0.0, clear_s=0.0)
    chosen = references.read_example(place, run, {})
    calm, blind, after = spans_of(run, traffic, chosen, rule)
    assert (calm.condition, after.condition) == ("normal", "normal")
    assert blind.condition == "unknown" and np.isnan(blind.distance)
    # Windows of 8 rows that lie in it whole.
    assert (blind.start_s, blind.end_s) == (1500.0, 38 * STEP_S)
    with pytest.raises(UsageError, match="nothing was measured in"):
        odd = examples.Place("odd", str(tmp_path / "odd.csv"), 1800.0)
        references.read_example(odd, run, {})


def test_a_fault_in_a_table_is_named_from_one_example(tables):
    """The mean feature of a window replaces the encoder; examples are other files."""
    run, read = opened(config(tables))
    mean_feature(run)

    def file(i):
        return tables / "tables" / f"{read.sessions.names[i]}.csv"

    chosen = examples.join_examples(
        *(
            references.read_example(examples.Place(name, file(i), at), run, {})
            for name, i, at in (
                ("normal", 0, 1200.0),
                ("condition 1", 1, 2400.0),
                ("condition 2", 2, 2400.0),
            )
        )
    )
    rule = rules.Rule(unknown=np.inf, penalty=1.0, onset_s=4 * 60.0, clear_s=0.0)
    for i, name in ((4, "condition 1"), (5, "condition 2")):
        calm, fault = spans_of(run, sessions.read_traffic(file(i), run), chosen, rule)
        assert (calm.condition, fault.condition) == ("normal", name)
        assert abs(fault.start_s - 30 * STEP_S) <= 5 * STEP_S  # of 8 in a window

"""A table of counters, named: what training read of it is what identification reads."""

import csv
import types

import numpy as np
import pandas as pd
import pytest

from configs import default
from siamjax.data import features, prepare_counters, splits, synthetic
from siamjax.identification import decide, examples, identify, sessions
from siamjax.types import SiamjaxError

STEP_S, CONDITIONS = 60, 3


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder of CSVs a minute of the packaged generator, the last column growing."""
    folder = tmp_path_factory.mktemp("counters")
    (folder / "tables").mkdir()
    made = synthetic.data_set(
        7, sessions=12, conditions=CONDITIONS, bins=60, onset=30, columns=4,
        strength=2.0,
    )  # fmt: skip
    with open(folder / "labels.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "start", "end", "condition"))
        for session in made.sessions:
            values = session.series.values.copy()
            values[:, -1] = np.cumsum(values[:, -1]) + 1e9
            frame = pd.DataFrame(values, columns=made.kinds)
            frame.insert(0, "time", np.arange(len(frame)) * STEP_S)
            frame.to_csv(folder / "tables" / f"{session.name}.csv", index=False)
            name = session.labels[0].condition if session.labels else "normal"
            start = 30 * STEP_S if session.labels else ""
            rows.writerow((f"{session.name}.csv", start, "", name))
    prepare_counters.prepare_counters(
        folder / "tables", folder / "labels.csv", folder / "data", workers=1,
        say=lambda line: None,
    )  # fmt: skip
    return folder


def config(tables, *, baseline_s=600.0):
    made = default.get_config()
    made.data.update(
        dir=str(tables / "data"), bin_s=60.0, bins=8, hop_s=120.0, clip=3.0,
        baseline_s=baseline_s, novel=(), novel_valid=(),
    )  # fmt: skip
    return made


def opened(config):
    """The part of a run that reading needs, and the splits it was made of."""
    read = splits.open_splits(config.data)
    run = types.SimpleNamespace(
        config=config, columns=read.columns, scaler=read.scaler, normal=read.baseline
    )
    return run, read


@pytest.mark.parametrize("baseline_s", [600.0, 0.0])
def test_a_bare_table_is_read_as_in_training(tables, tmp_path, baseline_s):
    run, read = opened(config(tables, baseline_s=baseline_s))
    assert [column.grows for column in read.columns] == [False, False, False, True]
    for i in (0, 7):
        name = f"{read.sessions[i]}.csv"
        frame = pd.read_csv(tables / "tables" / name)
        # Columns in another order, and one more: the same.
        frame["more"] = 1
        frame[["time", *sorted(frame.columns[1:], reverse=True)]].to_csv(
            tmp_path / name, index=False
        )
        for path in (tables / "tables" / name, tmp_path / name):
            traffic = sessions.read(path, run)
            np.testing.assert_array_equal(traffic.counts, read.counts[i])
            for got, wanted in zip(traffic.baseline, read.baseline):
                np.testing.assert_allclose(got, np.asarray(wanted)[i], rtol=1e-6)


def test_what_a_table_lacks_is_not_measured(tables, tmp_path):
    run, read = opened(config(tables))
    frame = pd.read_csv(tables / "tables" / f"{read.sessions[0]}.csv")
    frame.drop(columns="counter 1").to_csv(tmp_path / "less.csv", index=False)
    traffic = sessions.read(tmp_path / "less.csv", run)
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
        sessions.read(tmp_path / "odd.csv", run)


def test_a_fault_in_a_table_is_named_from_one_example(tables):
    """The mean feature of a window stands for an encoder; examples are other files."""
    run, read = opened(config(tables))

    def embed(counts, baseline):
        x = features.features(counts, baseline, run.scaler)
        return {"match": np.asarray(x).mean(1)}

    run.embed = embed

    def file(i):
        return tables / "tables" / f"{read.sessions[i]}.csv"

    chosen = examples.join(
        *(
            identify._example(examples.Place(name, file(i), at), run, {})
            for name, i, at in (
                ("normal", 0, 1200.0), ("condition 1", 1, 2400.0),
                ("condition 2", 2, 2400.0),
            )
        )
    )  # fmt: skip
    rule = decide.Rule(unknown=np.inf, penalty=1.0, onset_s=4 * 60.0, clear_s=0.0)
    for i, name in ((4, "condition 1"), (5, "condition 2")):
        calm, fault = identify.spans(run, sessions.read(file(i), run), chosen, rule)
        assert (calm.condition, fault.condition) == ("normal", name)
        assert abs(fault.start_s - 30 * STEP_S) <= 5 * STEP_S  # of 8 in a window

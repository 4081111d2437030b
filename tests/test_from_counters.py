"""Folders of tables of counters to prepared data sets."""

import json

import numpy as np
import pytest

from siamjax.data import from_counters, prepared
from siamjax.data.local_reading import LocalReader
from siamjax.types import Label, SiamjaxError
from tests import commands
from tests.counter_tables import ROWS, clean


def folder(tmp_path, labels, names=("one.csv", "two.csv")):
    (tmp_path / "tables").mkdir()
    for i, name in enumerate(names):
        frame = clean().assign(flat=7)
        if i:
            frame = frame.assign(extra=np.arange(ROWS) % 5).drop(columns="calls")
        frame.to_csv(tmp_path / "tables" / name, index=False)
    (tmp_path / "labels.csv").write_text("file,start,end,condition\n" + labels)
    lines = []
    from_counters.prepare_counters(
        tmp_path / "tables",
        tmp_path / "labels.csv",
        tmp_path / "out",
        reader=LocalReader(1),
        say=lines.append,
    )
    return prepared.read_data_set(tmp_path / "out"), lines


def test_labels_are_stretches_of_rows_both_ends_inside(tmp_path):
    dataset, lines = folder(
        tmp_path,
        "one.csv,2024-03-01 10:05,2024-03-01 10:09:00,down\n"
        "one.csv,,2024-03-01 10:03,normal\n"
        "one.csv,2024-03-01 10:50,,slow\n"
        "one.csv,2024-03-01 12:50,2024-03-01 12:55,slow\n"
        "two.csv,600,660,down\n",
    )
    first, second = dataset.sessions
    assert first.labels == (
        Label("normal", 0.0, 240.0),
        Label("down", 300.0, 600.0),
        Label("slow", 3000.0, 3600.0),
    )
    assert second.labels == (Label("down", 600.0, 720.0),)
    assert any("slow from 2024-03-01 12:50" in line for line in lines)
    assert "1 columns never change and are kept: flat" in lines
    assert "extra is in 1 of 2 files: not measured in the others" in lines
    assert dataset.kinds == ("load", "calls", "flat", "extra")
    assert np.isnan(first.series.values[:, 3]).all()
    assert np.isnan(second.series.values[:, 1]).all()
    assert json.loads((tmp_path / "out" / "cleaning.json").read_text())["captures"]
    assert lines[-1].endswith("2 sessions: 2 down, 1 normal, 1 slow")


def test_the_same_input_is_not_read_again(tmp_path):
    folder(tmp_path, "one.csv,,,normal\n")
    lines = []
    from_counters.prepare_counters(
        tmp_path / "tables",
        tmp_path / "labels.csv",
        tmp_path / "out",
        say=lines.append,
    )
    assert lines[-1].endswith("is up to date")


def test_columns_that_hold_the_labels_are_left_out_and_named(tmp_path):
    """By their values, one row beside the edges of a fault forgiven; or by name."""
    (tmp_path / "t").mkdir()
    rows = np.arange(ROWS)
    codes = np.where((rows >= 21) & (rows <= 29), 3, 0)
    for name, state in (("a.csv", codes), ("b.csv", np.zeros(ROWS, int))):
        frame = clean().assign(state=state, flag=(state > 0) & (rows != 25))
        frame.assign(flag=frame.flag.astype(int), label=rows % 2).to_csv(
            tmp_path / "t" / name, index=False
        )
    (tmp_path / "labels.csv").write_text(
        "file,start,end,condition\na.csv,1200,1740,down\nb.csv,,,normal\n"
    )
    lines = []
    from_counters.prepare_counters(
        tmp_path / "t",
        tmp_path / "labels.csv",
        tmp_path / "out",
        reader=LocalReader(1),
        say=lines.append,
    )
    assert "column state equals the labels, left out" in lines
    assert "column label has the name of labels, left out" in lines
    assert prepared.read_data_set(tmp_path / "out").kinds == ("load", "calls", "flag")
    assert "a.csv, b.csv: times in time: dates without a time zone" in lines
    told = json.loads((tmp_path / "out" / "cleaning.json").read_text())
    assert told["captures"][0]["notes"] and set(lines) >= set(told["problems"])


@pytest.mark.parametrize(
    "rows, reason",
    [
        ("two.csv,soon,,down\n", "'soon' is not a time"),
        ("two.csv,300,200,down\n", "200 is before 300"),
        ("two.csv,0,200,down\ntwo.csv,180,300,slow\n", "down and slow overlap"),
        ("two.csv,0,200,\n", "no condition"),
        ("two.csv,0,200,down,5\n", "more fields than columns"),
        ("two.csv,0,60,down\ntwo.csv,,,normal\n", "normal without start and end"),
        ("two.csv,9000,,down\n", "down from 9000 to  has no row"),
        ("two.csv,-90,-60,down\n", "down from -90 to -60 has no row"),
        ("two.csv,inf,,down\n", "'inf' is not a time"),
        ("two.csv,1e308,,down\n", "has no row"),
        ("two.csv,9999-12-31 23:59:59,,down\n", "9999-12-31 23:59:59"),
        ("two.csv,0,60,do\x1b[2Jwn\n", "do\\x1b[2Jwn has a character"),
        (f"two.csv,0,60,{'x' * 101}\n", "has 101 characters, 100 are allowed"),
    ],
)
def test_labels_that_cannot_be_used_leave_their_file_out(tmp_path, rows, reason):
    dataset, lines = folder(tmp_path, "one.csv,,,normal\n" + rows)
    assert [session.name for session in dataset.sessions] == ["one"]
    assert any(reason in line and "two.csv" in line for line in lines), lines


def test_a_table_without_a_value_is_no_example_unless_silence_is_the_fault(tmp_path):
    tables = tmp_path / "tables"
    tables.mkdir()
    clean().to_csv(tables / "one.csv", index=False)
    clean().assign(load=None, calls=None).to_csv(tables / "two.csv", index=False)
    labels = tmp_path / "labels.csv"
    labels.write_text("file,start,end,condition\none.csv,,,normal\ntwo.csv,60,,dead\n")

    def ingest(allow_empty):
        lines = []
        from_counters.prepare_counters(
            tables,
            labels,
            tmp_path / "out",
            say=lines.append,
            reader=LocalReader(1),
            allow_empty=allow_empty,
        )
        return "\n".join(lines)

    lines = ingest(allow_empty=False)
    assert "two.csv: no value in 60 rows of 2 columns, left out: where silence" in lines
    assert [s.name for s in prepared.read_data_set(tmp_path / "out").sessions] == [
        "one"
    ]
    assert "2 sessions: 1 dead, 1 normal" in ingest(allow_empty=True)
    (tables / "one.csv").unlink()
    for allow_empty in (False, True):
        with pytest.raises(SiamjaxError, match="the only file of"):
            ingest(allow_empty)


def test_what_was_not_read_of_tables_that_are_used_is_said_last(tmp_path):
    (tmp_path / "t.csv").write_text("time,load\n0,1\n1,2\n2,x\n3,4\n3,9\n4,5\n")
    (tmp_path / "labels.csv").write_text("file,start,end,condition\nt.csv,,,normal\n")
    lines = []
    from_counters.prepare_counters(
        tmp_path / "t.csv", tmp_path / "labels.csv", tmp_path / "out", say=lines.append
    )
    line = "warning: 1 of 1 files were not read completely: "
    line += "1 contradicting (rows of one time with other values), 1 unread ("
    assert lines[-1].startswith(line)


def test_numbers_are_on_the_tables_own_clock(tmp_path):
    (tmp_path / "t.csv").write_text(
        "time,load\n" + "".join(f"{1000 + 10 * i},{i % 3}\n" for i in range(20))
    )
    (tmp_path / "labels.csv").write_text(
        "file,start,end,condition\nt.csv,1050,1070,down\n"
    )
    from_counters.prepare_counters(
        tmp_path / "t.csv",
        tmp_path / "labels.csv",
        tmp_path / "out",
        reader=LocalReader(1),
        say=lambda line: None,
    )
    (session,) = prepared.read_data_set(tmp_path / "out").sessions
    assert session.labels == (Label("down", 50.0, 80.0),)


def test_the_command(tmp_path):
    clean().to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "labels.csv").write_text("file,start,end,condition\na.csv,,,normal\n")
    command = [
        "ingest",
        "--format=counters",
        f"--captures={tmp_path / 'a.csv'}",
        f"--labels={tmp_path / 'labels.csv'}",
        f"--out={tmp_path / 'out'}",
        "--workers=1",
    ]
    done = commands.run(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("out: 1 session: 1 normal\n")
    wrong = commands.run(*command, "--server=10.0.0.1")
    assert wrong.returncode == 2 and "--server is for packets" in wrong.stderr
    assert "Traceback" not in wrong.stderr

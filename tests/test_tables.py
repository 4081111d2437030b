"""Tables as others write them: each kind against the plain table it came from."""

import json

import numpy as np
import pandas as pd
import pytest

from siamjax.capture import counters, quantities, times
from siamjax.types import SiamjaxError

ROWS, START = 40, pd.Timestamp("2024-03-04 22:00")


def plain(start=START, freq="10s"):
    rng = np.random.default_rng(0)
    time = pd.date_range(start, periods=ROWS, freq=freq)
    return pd.DataFrame(
        dict(
            time=time,
            cpu=rng.uniform(20, 80, ROWS).round(2),
            pkts=rng.integers(1000, 9999, ROWS),
        )
    )


def csv(frame, **options):
    return frame.to_csv(index=False, **options)


def epoch(frame, unit):
    ns = frame.time.astype("datetime64[ns]").astype("int64")
    return frame.assign(time=ns // dict(s=10**9, ms=10**6, us=10**3, ns=1)[unit])


def dated(frame, form):
    return frame.assign(time=frame.time.dt.strftime(form))


def lines_of_json(frame):
    rows = epoch(frame, "ms").to_dict("records")
    return "".join(json.dumps(row) + "\n" for row in rows) + "{damaged\n"


def two_headers(frame):
    return "node,amf,smf\nmetric,cpu,pkts\n" + csv(frame, header=False)


def index_named(frame):
    return "node,amf,\nmetric,cpu,pkts\ntime,,\n" + csv(frame, header=False)


def long(frame, nodes=("a", "b")):
    parts = [
        frame.melt("time", var_name="metric", value_name="value").assign(node=node)
        for node in nodes
    ]
    return pd.concat(parts).sort_values("time", kind="stable")


# name of a kind: (text of the file, names of columns, a note, causes)
KINDS = {
    "semicolon": (csv(plain(), sep=";"), None, "separator semicolon", {}),
    "tab": (csv(plain(), sep="\t"), None, "separator tab", {}),
    "bar": (csv(plain(), sep="|"), None, "separator |", {}),
    "spaces": (
        epoch(plain(), "s").to_string(index=False),
        None,
        "separator spaces",
        {},
    ),
    "decimal comma": (csv(plain(), sep=";", decimal=","), None, "decimal comma", {}),
    "utf-16": (csv(plain()).encode("utf-16"), None, "encoding utf-16", {}),
    "utf-16 without mark": (
        csv(plain()).encode("utf-16-be"),
        None,
        "encoding utf-16-be",
        {},
    ),
    "utf-8 with mark": (csv(plain()).encode("utf-8-sig"), None, "times in time", {}),
    "latin-1": (
        csv(plain().rename(columns={"cpu": "°C"})).encode("latin-1"),
        ("°C", "pkts"),
        "encoding latin-1",
        {},
    ),
    "late latin-1": (
        csv(plain().assign(zone=["a" * 4000] * (ROWS - 1) + ["é"])).encode("latin-1"),
        None,
        "encoding latin-1",
        dict(text=1),
    ),
    "comments": (
        "# exported by a tool\n# site, A, 3\n" + csv(plain()),
        None,
        "2 lines above the header left out",
        {},
    ),
    "a title": (
        "Report of site A\n\n" + csv(plain()),
        None,
        "2 lines above the header left out",
        {},
    ),
    "header in a comment": (
        "# v1\n# time,cpu,pkts\n" + csv(plain(), header=False),
        None,
        "times in time",
        {},
    ),
    "names of rows": (
        "time,cpu,pkts\n" + plain().to_csv(header=False).replace("\n", "\n"),
        ("row", "cpu", "pkts"),
        "times in time",
        {},
    ),
    "json": (lines_of_json(plain()), None, "lines of JSON", dict(ragged=1)),
    "json list": (
        epoch(plain(), "ms").to_json(orient="records", indent=1),
        None,
        "a JSON list",
        {},
    ),
    "two headers": (
        two_headers(plain()),
        ("amf cpu", "smf pkts"),
        "2 header rows joined",
        {},
    ),
    "three headers": (
        index_named(plain()),
        ("amf cpu", "amf pkts"),
        "3 header rows joined",
        {},
    ),
    "time named last": (
        csv(plain()[["pkts", "cpu", "time"]].rename(columns={"time": "ts"})),
        ("pkts", "cpu"),
        "times in ts",
        {},
    ),
    "time not named": (
        csv(plain()[["pkts", "cpu", "time"]].rename(columns={"time": "when"})),
        ("pkts", "cpu"),
        "times in when",
        {},
    ),
    "percent": (
        csv(plain().assign(cpu=plain().cpu.map("{:.2f} %".format))),
        None,
        "unit % removed: cpu",
        {},
    ),
    "thousands": (
        csv(plain().assign(pkts=plain().pkts.map("{:,}".format))),
        None,
        "unit thousands removed: pkts",
        {},
    ),
    "no value": (
        csv(plain().astype({"pkts": object}).assign(pkts=["-", *plain().pkts[1:]])),
        None,
        "times in time",
        dict(missing=1),
    ),
}


def read(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return counters.read_counters(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_read_whatever_wrote_it(tmp_path, kind):
    content, names, note, causes = KINDS[kind]
    table, report = read(tmp_path, content)
    assert table.names == (names or ("cpu", "pkts"))
    wanted = plain()[["cpu", "pkts"]].to_numpy()
    if kind == "no value":
        wanted[0, 1] = np.nan
    got = table.values[:, [-1, -2] if names == ("pkts", "cpu") else [-2, -1]]
    np.testing.assert_array_equal(got, wanted)
    assert (table.first_ns, table.step_ns) == (START.value, 10**10)
    assert any(note in line for line in report.notes), report.notes
    assert report.causes == causes


@pytest.mark.parametrize(
    "form, note",
    [
        ("%Y-%m-%dT%H:%M:%SZ", "dates at UTC+0 h"),
        ("%Y-%m-%d %H:%M:%S,500", "dates without"),
        ("%d/%m/%Y %H:%M:%S", "day before month"),
        ("%m/%d/%Y %I:%M:%S %p", "month before day"),
        ("%d.%m.%y %H:%M:%S", "day before month"),
        ("%d %b %Y %H:%M:%S", "dates without"),
        ("[%d/%b/%Y:%H:%M:%S +0000]", "dates at UTC+0 h"),
        ("%Y%m%d%H%M%S", "dates written as 14 digits"),
    ],
)
def test_dates_have_one_order_of_day_and_month(tmp_path, form, note):
    """Some 12 hours to midnight of the 12th and past it, where a 13 decides."""
    frame = plain("2024-03-12 18:00", "30min")
    table, report = read(tmp_path, csv(dated(frame, form)))
    half = ",500" in form
    assert table.first_ns == frame.time[0].value + half * 500_000_000
    assert table.step_ns == 1800 * 10**9 and report.causes == {}
    assert note in report.notes[-1]


def test_an_order_that_no_13_decides_is_the_one_that_spans_less(tmp_path):
    frame = plain("2024-02-05 06:00", "1h")
    for form, order in (("%d/%m/%Y %H:%M", "day"), ("%m/%d/%Y %H:%M", "month")):
        table, report = read(tmp_path, csv(dated(frame, form)))
        assert table.first_ns == frame.time[0].value
        assert f"{order} before" in report.notes[-1]
    # A month above 12 in a column of days first is not read, and not turned around.
    table, report = read(
        tmp_path,
        csv(dated(plain("2024-02-20"), "%d/%m/%Y %H:%M:%S")) + "02/20/2024,1,1\n",
    )
    assert report.causes == dict(time_unread=1)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_unit_of_times_since_1970_is_told_by_their_size(tmp_path, unit):
    table, report = read(tmp_path, csv(epoch(plain(), unit)))
    assert (table.first_ns, table.step_ns) == (START.value, 10**10)
    assert report.notes == [f"times in time: numbers of {unit} since 1970"]
    number = int(epoch(plain(), unit).time[3])
    seconds = times.read_labels(
        [str(number), "2024-03-04 22:00:30", "2024-03-04T23:00:30+01:00", ""],
        table.clock,
        table.first_ns,
    )
    np.testing.assert_array_equal(seconds, [30.0, 30.0, 30.0, np.nan])


def test_numbers_that_may_be_milliseconds_are_asked_about(tmp_path):
    frame = plain().assign(time=np.arange(ROWS) * 10_000)
    with pytest.raises(SiamjaxError, match="10000 apart: are they seconds or milli"):
        read(tmp_path, csv(frame))
    table, report = read(tmp_path, csv(frame.rename(columns={"time": "time_ms"})))
    assert table.step_ns == 10**10 and "numbers of ms" in report.notes[0]
    # An hour is a usual step.
    assert read(tmp_path, csv(frame.assign(time=np.arange(ROWS) * 3600)))


def test_a_zone_holds_for_labels_without_one(tmp_path):
    frame = dated(plain(), "%Y-%m-%d %H:%M:%S")
    for zone in ("+0530", " CEST"):
        table, _ = read(tmp_path, csv(frame.assign(time=frame.time + zone)))
        east_ns = table.clock.offsets_ns[0]
        assert table.first_ns == START.value - east_ns
        seconds = times.read_labels(
            ["2024-03-04 22:01:00"], table.clock, table.first_ns
        )
        assert seconds == [60.0]
    mixed = [f"{t}{'+01:00' if i % 2 else '+01:30'}" for i, t in enumerate(frame.time)]
    clock = times.read_times(pd.Series(mixed)).clock
    with pytest.raises(ValueError, match="has no time zone, the table has several"):
        times.read_labels(["2024-03-04 22:01:00"], clock, 0)


def test_clocks_without_a_date_count_their_days(tmp_path):
    frame = plain("2024-03-04 22:00", "30min")
    for form in ("%H:%M:%S", "%I:%M %p"):
        table, report = read(tmp_path, csv(dated(frame, form)))
        assert len(table.values) == ROWS and table.step_ns == 1800 * 10**9
        assert "clocks without a date, 2 days counted" in report.notes[-1]
        seconds = times.read_labels(["23:00", "01:00"], table.clock, table.first_ns)
        np.testing.assert_array_equal(seconds, [3600.0, 3 * 3600.0])
        with pytest.raises(ValueError, match="is not a time of day"):
            times.read_labels(["2024-03-04 23:00"], table.clock, table.first_ns)
    apart = frame.assign(date=frame.time.dt.date, time=frame.time.dt.time)
    table, report = read(tmp_path, csv(apart))
    assert table.first_ns == frame.time[0].value and table.names == ("cpu", "pkts")
    # Many rows of one minute contradict each other.
    says = r"rows cannot be used: 3\d contradicting .*; its times have no {}$"
    with pytest.raises(SiamjaxError, match=says.format("date and no seconds")):
        read(tmp_path, csv(dated(plain(), "%H:%M")))
    with pytest.raises(SiamjaxError, match=says.format("seconds")):
        read(tmp_path, csv(dated(plain(), "%Y-%m-%d %H:%M")))


@pytest.mark.parametrize(
    "zone, start, change",
    [
        ("Europe/Berlin", "2024-10-26 22:50", "2024-10-27T02:00"),
        ("Europe/Berlin", "2024-03-30 23:10", "2024-03-31T03:00"),
        ("America/New_York", "2024-11-03 03:50", "2024-11-03T01:00"),
    ],
)
@pytest.mark.parametrize("freq", ["5min", "1h"])
def test_local_times_that_change_by_an_hour_are_put_right(
    tmp_path, zone, start, change, freq
):
    frame = plain(pd.Timestamp(start).ceil(freq), freq)
    local = frame.time.dt.tz_localize("UTC").dt.tz_convert(zone).dt.tz_localize(None)
    table, report = read(tmp_path, csv(frame.assign(time=local)))
    assert len(table.values) == ROWS and report.causes == {}
    assert f"local times change by an hour at {change}: put right" in report.notes[-1]
    np.testing.assert_array_equal(table.values[:, 1], frame.pkts)
    for row in (0, ROWS - 1):
        (second,) = times.read_labels([str(local[row])], table.clock, table.first_ns)
        assert second == row * pd.Timedelta(freq).total_seconds()


def test_a_label_in_an_hour_that_comes_twice_is_asked_about(tmp_path):
    frame = plain("2024-10-26 23:30", "5min")
    local = frame.time.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    table, _ = read(tmp_path, csv(frame.assign(time=local.dt.tz_localize(None))))
    with pytest.raises(ValueError, match="is there twice"):
        times.read_labels(["2024-10-27 02:10"], table.clock, table.first_ns)


def test_a_long_table_has_a_column_for_each_name(tmp_path):
    frame = plain()
    table, report = read(tmp_path, csv(long(frame)))
    assert table.names == ("cpu a", "cpu b", "pkts a", "pkts b")
    np.testing.assert_array_equal(table.values[:, 1], frame.cpu)
    np.testing.assert_array_equal(table.values[:, 2], frame.pkts)
    assert report.causes == {}
    assert "long table: metric, node give 4 names: cpu a, cpu b" in report.notes[-1]
    # Rows of one node after those of another, one of them missing, one twice.
    rows = long(frame).sort_values("node", kind="stable").reset_index(drop=True)
    rows = pd.concat([rows.drop(index=7), rows.iloc[-1:]])
    table, report = read(tmp_path, csv(rows))
    assert np.isnan(table.values).sum() == 1 and report.causes == dict(duplicated=1)


def test_nodes_with_several_columns_are_spread(tmp_path):
    frame = pd.concat([plain().assign(cell_id=c) for c in (7, 9)]).sort_values("time")
    table, _ = read(tmp_path, csv(frame))
    assert table.names == ("7 cpu", "7 pkts", "9 cpu", "9 pkts")
    np.testing.assert_array_equal(table.values[:, 3], plain().pkts)


def test_metrics_with_times_of_their_own_share_a_step(tmp_path):
    rows = long(plain(), ("a",))
    late = pd.to_timedelta(np.where(rows.metric == "pkts", 300, 0), unit="ms")
    table, _ = read(tmp_path, csv(rows.assign(time=rows.time + late)))
    assert table.names == ("cpu a", "pkts a") and len(table.values) == ROWS
    np.testing.assert_array_equal(table.values[:, 1], plain().pkts)


def test_a_text_beside_rows_of_different_times_is_no_key(tmp_path):
    frame = plain().assign(state=["up", "down"] * (ROWS // 2))
    table, report = read(tmp_path, csv(frame))
    assert table.names == ("cpu", "pkts")
    assert "columns without numbers, left out: state" in report.notes


def test_more_than_half_of_the_rows_must_be_of_use(tmp_path):
    frame = plain().astype({"time": object})
    frame.loc[:20, "time"] = "soon"
    with pytest.raises(SiamjaxError, match="21 of 40 rows cannot be used: 21 time_unr"):
        read(tmp_path, csv(frame))


@pytest.mark.parametrize(
    "content, reason",
    [
        (csv(plain(), header=False), "has no header: give its columns names"),
        ("a,b\n5,1\n3,1\n4,2\n1,3\n", "name the column of times time"),
        ("[1, 2]", "its JSON has no objects"),
    ],
)
def test_a_table_without_names_or_times_says_so(tmp_path, content, reason):
    with pytest.raises(SiamjaxError, match=reason):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "cells, decimal, wanted, note",
    [
        (["1.5 MB", "300 kB", "0"], ".", [1.5e6, 3e5, 0.0], "MB, kB"),
        (["1 KiB/s", "2 KiB/s"], ".", [1024.0, 2048.0], "KiB/s"),
        (["20 ms", "1.5 s"], ".", [0.02, 1.5], "ms, s"),
        (["-90 dBm", "-85 dBm"], ".", [-90.0, -85.0], "dBm"),
        (["1.234,5", "7,25"], ",", [1234.5, 7.25], "thousands"),
        (["1 234", "5'678"], ".", [1234.0, 5678.0], "thousands"),
        (["1.2k", "3M"], ".", [1200.0, 3e6], "M, k"),
        (["4G", "5G"], ".", None, ""),
        (["10.0.0.1", "10.0.0.2"], ".", None, ""),
        (["3 dB", "4 W"], ".", None, ""),
    ],
)
def test_units_and_thousands(cells, decimal, wanted, note):
    numbers = quantities.read_numbers(pd.Series(cells), decimal)
    if wanted is None:
        assert np.isnan(numbers.values).all()
    else:
        np.testing.assert_allclose(numbers.values, wanted, rtol=1e-12)
        assert numbers.note == note

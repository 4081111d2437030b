"""Tables of counters: every kind of dirt against a clean copy, found and handled."""

import gzip
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.capture import counters, decompress, times
from siamjax.data import counts, from_counters, prepared
from siamjax.data.local_reading import LocalReader
from siamjax.types import Series, SiamjaxError, UsageError
from tests.counter_tables import ROWS, clean


def read(tmp_path, frame, name="a.csv"):
    frame.to_csv(tmp_path / name, index=False)
    return counters.read_counters(tmp_path / name)


def test_a_clean_table_has_nothing_odd(tmp_path):
    frame = clean()
    table, report = read(tmp_path, frame)
    assert (table.names, table.step_ns) == (("load", "calls"), 60 * 10**9)
    assert table.clock == times.Clock(times.DATE) and table.rest is None
    assert table.first_ns == pd.Timestamp("2024-03-01 10:00").value
    np.testing.assert_array_equal(table.values, frame[["load", "calls"]].to_numpy())
    assert (report.rows, report.step_s, report.span_s) == (ROWS, 60.0, ROWS * 60.0)
    assert report.causes == {} and report.gaps == []
    assert report.notes == ["times in time: dates without a time zone"]


def shuffled(frame):
    order = [*range(10), 11, 10, *range(12, ROWS)]
    return frame.iloc[order], dict(out_of_order=1)


def duplicated(frame):
    return pd.concat([frame, frame.iloc[[3, 3, 7]]]), dict(duplicated=3, out_of_order=1)


def contradicting(frame):
    wrong = frame.iloc[[5]].assign(load=-1.0)
    return pd.concat([frame[:5], wrong, frame[5:]]), dict(contradicting=1)


def jittered(frame):
    late = pd.to_timedelta(np.where(np.arange(ROWS) % 7 == 3, 9, 0), unit="s")
    return frame.assign(time=frame.time + late), dict(moved=9)


def unreadable_times(frame):
    odd = frame.iloc[[0, 1]].assign(time=["yesterday-ish", ""])
    return pd.concat([frame[:9], odd, frame[9:]]), dict(time_unread=2)


def texts(frame):
    return frame.assign(node="core-1", note=None).drop(columns="note"), dict(text=1)


@pytest.mark.parametrize(
    "spoil", [shuffled, duplicated, contradicting, jittered, unreadable_times, texts]
)
def test_dirt_is_counted_and_the_clean_rows_come_out(tmp_path, spoil):
    wanted, _ = read(tmp_path, clean())
    dirty, causes = spoil(clean())
    table, report = read(tmp_path, dirty, "dirty.csv")
    np.testing.assert_array_equal(table.values, wanted.values)
    assert (table.first_ns, table.step_ns) == (wanted.first_ns, wanted.step_ns)
    assert report.causes == causes


def test_gaps_and_cells_without_a_number_are_not_measured(tmp_path):
    frame = clean().astype({"load": object})
    frame.loc[4, "load"], frame.loc[5, "load"], frame.loc[6, "load"] = "n/a", "?", "inf"
    table, report = read(tmp_path, frame.drop(index=[20, 21, 40]))
    wanted = clean()[["load", "calls"]].to_numpy()
    wanted[[4, 5, 6], 0] = np.nan
    wanted[[20, 21, 40]] = np.nan
    np.testing.assert_array_equal(table.values, wanted)
    assert report.causes == dict(gap=3, missing=1, unread=2)
    assert report.gaps == [[1200.0, 120.0], [2400.0, 60.0]]


def test_rows_that_share_a_step_are_averaged(tmp_path):
    frame = clean()
    early = frame.iloc[[30]].assign(time=frame.time[30] - pd.Timedelta("2s"), load=10.0)
    table, report = read(tmp_path, pd.concat([frame[:30], early, frame[30:]]))
    assert report.causes == dict(crowded=1)
    assert table.values[30, 0] == (10.0 + frame.load[30]) / 2
    assert len(table.values) == ROWS
    # Also where spacings of two sizes are equally many.
    table, _ = read(tmp_path, clean().iloc[[0, 1, 40]])
    assert table.step_ns == 60 * 10**9 and len(table.values) == 41


def test_a_ragged_row_is_left_out(tmp_path):
    read(tmp_path, clean())
    text = (tmp_path / "a.csv").read_text().splitlines()
    text.insert(9, text[9] + ",1,2,3")
    (tmp_path / "a.csv").write_text("\n".join(text))
    table, report = counters.read_counters(tmp_path / "a.csv")
    assert report.causes == dict(ragged=1) and len(table.values) == ROWS


def test_parquet_gz_and_numbers_as_times_give_the_same(tmp_path):
    frame = clean()
    wanted, _ = read(tmp_path, frame)
    frame.to_parquet(tmp_path / "a.parquet")
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        frame.to_csv(file, index=False)
    frame.assign(time=np.arange(ROWS) * 60.0).to_csv(tmp_path / "n.csv", index=False)
    for name in ("a.parquet", "a.csv.gz", "n.csv"):
        table, report = counters.read_counters(tmp_path / name)
        np.testing.assert_array_equal(table.values, wanted.values)
        assert table.step_ns == wanted.step_ns and report.causes == {}
    assert table.clock.kind == times.NUMBER and table.first_ns == 0


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "cannot be read as a table"),
        ("time,load\n", "has no row"),
        ("time,load\nsoon,1\nthen,2\n", "has no times"),
        ("time,load\n" + "x" * 99 + ",1\n" + "y" * 99 + ",2\n", "has no times$"),
        ("time,node\n0,a\n60,b\n", "no numeric column"),
        ("time,load\n0,1\n0,2\n", "rows of one time only"),
        ("time,load\n0,1\n1,1\n2,1\n1e9,1\n", "is a time wrong?"),
        (b"\x1f\x8b\x08\x00broken", "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, text, reason):
    path = tmp_path / "bad.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SiamjaxError, match=reason) as error:
        counters.read_counters(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_what_was_not_read_of_a_table_is_told_from_what_was_not_measured(tmp_path):
    dirty, _ = unreadable_times(clean().drop(index=[20]))
    _, report = read(tmp_path, dirty)
    assert report.causes == dict(time_unread=2, gap=1)
    assert counters.not_read(report) == dict(time_unread=2)
    assert set(counters.CAUSES) >= counters.NOT_READ


@pytest.mark.parametrize(
    "time, calls, causes",
    [
        ("9999-12-31 00:00", "1", dict(time_unread=1)),
        ("0001-01-01", "1", dict(time_unread=1)),
        ("1" * 400, "1", dict(time_unread=1)),
        ("9 " * 100_000, "1", dict(time_unread=1)),
        ("2024-03-01 11:00", "1" * 400, dict(unread=1)),
        ("2024-03-01 11:00", "9" * 5000, dict(unread=1)),
        ("2024-03-01 11:00", "1e400", dict(unread=1)),
        ("2024-03-01 11:00", "x" * 200_000, dict(unread=1)),
        ("2024-03-01 11:00", "\0", dict(missing=1)),
    ],
    ids=[f"cell_{i}" for i in range(9)],
)
def test_a_cell_that_nobody_can_read_costs_itself_alone(tmp_path, time, calls, causes):
    wanted, _ = read(tmp_path, clean())
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "b.csv").write_text(f"{text}{time},50,{calls}\n")
    table, report = counters.read_counters(tmp_path / "b.csv")
    np.testing.assert_array_equal(table.values[:ROWS], wanted.values)
    assert report.causes == causes
    assert (table.first_ns, table.step_ns) == (wanted.first_ns, wanted.step_ns)


def test_a_column_whose_name_is_too_long_is_refused_in_a_short_line(tmp_path):
    frame = clean().rename(columns={"load": "x" * 200_000})
    with pytest.raises(SiamjaxError, match="a name of 200000 characters, 200") as error:
        read(tmp_path, frame)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("odd", [1e18, -1e18, 4.7e9, -9e9, np.inf, 10**18])
def test_a_time_that_no_clock_shows_is_not_read(tmp_path, odd):
    frame = clean().assign(time=np.arange(ROWS) * 60.0)
    wanted, _ = read(tmp_path, frame)
    extra = frame.iloc[[4]].astype({"time": object}).assign(time=odd)
    table, report = read(tmp_path, pd.concat([frame[:9], extra, frame[9:]]), "b.csv")
    np.testing.assert_array_equal(table.values, wanted.values)
    assert report.causes == dict(time_unread=1)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_damage_of_a_table_is_more_than_one_line(tmp_path_factory, data):
    """Bytes changed, put in and cut: rows of numbers, or an error of one line."""
    text = bytearray(clean(12).to_csv(index=False).encode())
    bad = st.sampled_from(
        [
            b"\xff\xfe",
            b"\0",
            b'"',
            b",",
            b"\n",
            b"9" * 400,
            b"1e18",
            b"9999-12-31",
            b"-",
        ]
    )
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(text)))
        until = place + data.draw(st.integers(0, 12))
        text[place:until] = data.draw(bad | st.binary(max_size=4))
    path = tmp_path_factory.getbasetemp() / "damaged.csv"
    path.write_bytes(text)
    try:
        table, _ = counters.read_counters(path)
    except SiamjaxError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert table.values.dtype == float and table.step_ns > 0


def test_a_file_whose_name_is_no_utf8_is_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/a\xff.csv"
    clean().to_csv(tmp_path / "a.csv", index=False)
    os.rename(tmp_path / "a.csv", path)
    _, report = counters.read_counters(os.fsdecode(path))
    assert report.rows == ROWS and report.causes == {}


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst", "zip"])
def test_a_packed_table_is_read_and_one_that_expands_too_much_is_not(tmp_path, kind):
    path = tmp_path / f"a.csv.{kind}"
    compression = {"zst": "zstd", "gz": "gzip"}.get(kind, kind)
    clean().to_csv(path, index=False, compression=compression)
    table, _ = counters.read_counters(path)
    wanted, _ = read(tmp_path, clean())
    np.testing.assert_array_equal(table.values, wanted.values)
    if kind == "zst":
        zeros = bytes(decompress.ALWAYS_BYTES + 1)
        path.write_bytes(zstandard.ZstdCompressor().compress(zeros))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", bytes(2 * decompress.ALWAYS_BYTES))
    else:
        return
    with pytest.raises(SiamjaxError, match="--nolimit_expansion"):
        counters.read_counters(path)


def test_a_small_parquet_of_many_rows_is_refused_before_it_is_read(tmp_path):
    rows = decompress.ALWAYS_BYTES // 16 + 1
    pd.DataFrame(dict(time=np.zeros(rows), load=np.zeros(rows))).to_parquet(
        tmp_path / "a.parquet", index=False
    )
    with pytest.raises(SiamjaxError, match="bytes expand to more than 16777216"):
        counters.read_counters(tmp_path / "a.parquet")
    with pytest.raises(SiamjaxError, match="rows of one time only"):
        counters.read_counters(tmp_path / "a.parquet", limit_expansion=False)


def test_a_zip_of_several_files_says_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "time,load\n0,1\n")
        archive.writestr("b.csv", "time,load\n0,1\n")
    with pytest.raises(SiamjaxError, match="a zip file with 2 files: unzip it first"):
        counters.read_counters(tmp_path / "a.zip")


def test_pandas_missing_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        counters.read_counters(tmp_path / "a.csv")


def test_the_growth_of_a_dirty_table_is_that_of_the_clean_one(tmp_path):
    """Gap, reset and a missing cell change only the rows they touch."""
    frame = clean()
    frame["bytes"] = np.cumsum(np.random.default_rng(2).integers(50, 90, ROWS)) + 1e12
    (tmp_path / "t").mkdir()
    frame.to_csv(tmp_path / "t" / "clean.csv", index=False)
    frame.loc[30:, "bytes"] -= frame.bytes[29]
    frame.loc[10, "bytes"] = np.nan
    frame.loc[50, "bytes"] += 10**6
    frame.drop(index=[40, 41]).to_csv(tmp_path / "t" / "dirty.csv", index=False)
    (tmp_path / "labels.csv").write_text(
        "file,start,end,condition\nclean.csv,,,normal\ndirty.csv,,,normal\n"
    )
    lines = []
    prepared_dir = tmp_path / "out"
    from_counters.prepare_counters(
        tmp_path / "t",
        tmp_path / "labels.csv",
        prepared_dir,
        reader=LocalReader(1),
        say=lines.append,
    )
    assert any(
        "bytes only grows" in line
        and line.endswith("; resets: 1; rows that go back, not measured: 1")
        for line in lines
    )
    dataset = prepared.read_data_set(prepared_dir)
    assert dataset.kinds == ("load", "calls", "bytes")
    good, bad = (s.series.values[:, 2] for s in dataset.sessions)
    odd = [10, 11, 40, 41, 42, 50, 51]
    same = np.setdiff1d(np.arange(1, ROWS), odd)
    np.testing.assert_array_equal(good[same], bad[same])
    assert np.isnan(bad[[0, 10, 40, 41, 50]]).all() and np.isnan(good[0])
    assert bad[11] == (good[10] + good[11]) / 2
    np.testing.assert_allclose(bad[42], good[40:43].mean(), rtol=1e-6)


def test_bins_of_several_rows_are_means_of_what_was_measured():
    values = np.array([[1.0], [3.0], [np.nan], [5.0], [np.nan], [np.nan], [7.0]])
    series = Series(np.arange(7) * 10 * 10**9, values.astype(np.float32))
    got = counts.bin_series(series, 20.0)
    np.testing.assert_array_equal(got, [[2.0], [5.0], [np.nan]])
    assert counts.step_s(series) == 10.0
    # A bin that is no multiple takes the rows that begin in it.
    np.testing.assert_array_equal(counts.bin_series(series, 25.0)[:2], [[2.0], [5.0]])

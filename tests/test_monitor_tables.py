"""The monitor of a table that grows: it decides as identify does of the whole table."""

import contextlib
import json
import os
import threading
import time

import numpy as np
import pytest

from siamjax.data import columns
from siamjax.monitoring import (
    following,
    records,
    sources,
    states,
    table_monitor,
    table_sources,
    watching,
)
from siamjax.monitoring.lines import describe
from siamjax.types import Column, SiamjaxError, UsageError
from tests import live_traffic
from tests.live_traffic import assert_as_identified

NAMES = "load", "errors", "bytes"
COLUMNS = tuple(
    Column(name, columns.COUNTER, heavy=False, grows=name == "bytes") for name in NAMES
)
STEP_S = 10


@pytest.fixture
def reference(monkeypatch, tmp_path):
    made = live_traffic.make_reference(
        monkeypatch,
        tmp_path,
        of=COLUMNS,
        bin_s=float(STEP_S),
        bins=6,
        baseline_s=100.0,
    )
    return made._replace(rule=made.rule._replace(unknown=2.0, penalty=2.0))


def make_values(rows, seed=0):
    """Counters of calm, 30 rows of a fault from row 60 on, and calm; the last grows."""
    rng = np.random.default_rng(seed)
    values = rng.normal([5.0, 1.0, 2000.0], [0.5, 0.3, 30.0], (rows, 3))
    values[60:90, 1] += 6
    values[:, 2] = np.cumsum(np.rint(values[:, 2])) + 2**53
    return values


def make_lines(values, first=0, when=lambda i: str(1_700_000_000 + i * STEP_S)):
    """Lines of CSV, with the header if they are the first."""
    lines = [] if first else [f"time,{','.join(NAMES)},more"]
    for i, (load, errors, count) in enumerate(values, first):
        lines.append(f"{when(i)},{load:.4f},{errors:.4f},{count:.0f},7")
    return lines


def irregular(lines, seed):
    """A table with rows that come late, are missing, are there twice, or hold junk, two
    headers, and a counter that is reset or falls in one row."""
    rng = np.random.default_rng(seed)
    header, *rows = lines
    cells = [row.split(",") for row in rows]
    lost = int(rng.integers(45, 55)), int(rng.integers(100, 110))
    start = float(cells[70][3])
    for i in range(70, len(cells)):  # the counter is reset
        cells[i][3] = f"{float(cells[i][3]) - start:.0f}"
    cells[40][3] = "3"  # a glitch
    cells[30][1] = ""
    cells[33][2] = "n/a"
    rows = [",".join(row) for row in cells]
    late = int(rng.integers(20, 25))
    rows[late], rows[late + 1] = rows[late + 1], rows[late]
    table = [header]
    for i, row in enumerate(rows):
        if i not in lost:
            table.append(row)
        if i == 50:
            table += [row, header]
        if i == 57:
            table += ["hello", "1,2,3,4,5,6,7,8"]
    return table


def watch(reference, batches, **options):
    watched = table_monitor.TableMonitor(reference, sources.Tally(), **options)
    return list(watching.watch(watched, batches, source="x", heartbeat_s=1e6))


def in_batches(lines, sizes, first=0):
    """Batches of so many lines."""
    end, sizes = first, iter(sizes)
    while end < len(lines):
        start, end = end, end + int(next(sizes))
        some = [
            sources.Line("x.csv", start + 1 + i, line)
            for i, line in enumerate(lines[start:end])
        ]
        yield sources.Batch(some, time.monotonic())


@pytest.mark.parametrize("seed", range(3))
def test_an_irregular_table_is_judged_as_the_whole_one(reference, tmp_path, seed):
    lines = make_lines(make_values(200, seed))
    if seed:
        lines = irregular(lines, seed)
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines))
    sizes = np.random.default_rng(seed).integers(1, 1 + 8**seed, 1000)
    made = watch(reference, in_batches(lines, sizes))
    spans = assert_as_identified(made, path, reference)
    assert [span.condition for span in spans][:2] == ["normal", "unknown"]
    assert spans[-1].condition == "normal"
    assert abs(spans[1].start_s - 600) <= 6 * STEP_S


@pytest.mark.parametrize("form", ["json", "semicolons", "long", "dates", "latin-1"])
def test_tables_of_other_forms_are_judged_as_the_whole_ones(reference, tmp_path, form):
    values = make_values(150)
    lines = make_lines(values)
    header, *rows = lines
    if form == "json":
        names = header.split(",")
        lines = [
            json.dumps(dict(zip(names, map(float, row.split(","))))) for row in rows
        ]
    elif form == "semicolons":
        lines = ["# a title", header.replace(",", ";")]
        lines += [row.replace(",", ";").replace(".", ",") for row in rows]
    elif form == "long":
        lines = ["time,metric,value"]
        for row in rows:
            first, *cells = row.split(",")
            lines += [f"{first},{n},{cell}" for n, cell in zip(NAMES, cells)]
    elif form == "dates":  # an hour of summer time is left out
        first = np.datetime64("2024-03-31T01:50:00")

        def date(i):
            shift = 3600 if i >= 60 else 0
            return str(first + np.timedelta64(i * STEP_S + shift, "s")).replace(
                "T", " "
            )

        lines = make_lines(values, when=date)
    else:
        lines[0] = lines[0].replace("more", "zähler")
    encoding = "latin-1" if form == "latin-1" else "utf-8"
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines), encoding)
    batches = list(table_sources.replay_lines(path, 0.0))
    lines = [line.text for batch in batches for line in batch.packets]
    made = watch(reference, in_batches(lines, np.full(1000, 7)))
    assert len(assert_as_identified(made, path, reference)) >= 3


@pytest.mark.parametrize("at_once", [3, 1000])
def test_a_bin_of_several_rows_and_other_columns_later(
    reference, tmp_path, caplog, at_once
):
    """The table is rotated: the next file has another order of columns."""
    run = reference.run
    run.config.data.update(bin_s=20.0, bins=4, baseline_s=200.0)
    header, *rows = make_lines(make_values(200))
    path = tmp_path / "x.csv"
    path.write_text("\n".join([header, *rows]))
    turned = [",".join(row.split(",")[::-1]) for row in (header, *rows[101:])]
    lines = [header, *rows[:101], *turned]
    made = watch(reference, in_batches(lines, np.full(1000, at_once)))
    assert_as_identified(made, path, reference)
    assert not live_traffic.of_kind(made, records.Heartbeat)[-1].not_read
    assert "a new table begins: " in caplog.text


@pytest.mark.parametrize("stops", [[5], [60, 61], [75, 140]])
def test_a_restart_loses_nothing_and_doubles_nothing(reference, tmp_path, stops):
    lines = irregular(make_lines(make_values(200)), 1)
    kinds = records.Change, records.Stretch
    at_once = watch(reference, in_batches(lines, np.full(1000, 5)))
    made, first = [], 0
    for stop in [*stops, None]:
        watched = table_monitor.TableMonitor(reference, sources.Tally())
        states.restore_state(tmp_path, watched)
        for batch in in_batches(lines, np.full(1000, 5), first):
            made += watched.add(batch)
            if stop is not None and batch.packets[-1].end >= stop:
                break
        states.save_state(tmp_path, watched)
        first = batch.packets[-1].end
        assert watched.state()["position"] == ["x.csv", first]
    made += watched.finish()
    wanted = [record for record in at_once if isinstance(record, kinds)]
    assert [record for record in made if isinstance(record, kinds)] == wanted
    assert watched.heartbeat().packets == len(lines)
    rows = watched.heartbeat().messages
    assert f" {len(lines)} lines, {rows} rows, " in describe(watched.heartbeat())
    assert watched.heartbeat().not_read == at_once[-2].not_read


def test_a_file_that_grows_is_read_line_by_line(reference, tmp_path, monkeypatch):
    monkeypatch.setattr(following, "_LOOK_S", 0.01)
    monkeypatch.setattr(sources, "IDLE_S", 0.01)
    header, *rows = make_lines(make_values(100))
    path = tmp_path / "x.csv"
    path.write_text("\n".join([header, *rows[:30]])[:-3])  # the last is half written
    follow = following.follow(path, sources.Tally(), None, put=table_sources.put_lines)
    texts = []

    def take(count):
        for batch in batches:
            texts.extend(line.text for line in batch.packets)
            if len(texts) >= count:
                return

    with contextlib.closing(follow) as batches:
        take(30)
        assert texts == [header, *rows[:29]]
        with open(path, "a") as file:
            file.write("\n".join([rows[29][-3:], *rows[30:50], rows[50][:4]]))
        take(51)
        os.rename(path, tmp_path / "x.csv.1")
        with open(tmp_path / "x.csv.1", "a") as file:
            file.write(rows[50][4:] + "\n" + rows[51][:3])
        path.write_text("\n".join([header, *rows[51:], ""]))
        take(len(rows) + 2)
    assert texts == [header, *rows[:51], header, *rows[51:]]
    # It goes on from a position, also in a file that was begun again since.
    for packets, count in ((len(header) + 1, 49), (len(header) - 4, 50), (10**6, 50)):
        position = sources.Position(str(path), packets)
        follow = following.follow(
            path, sources.Tally(), position, put=table_sources.put_lines
        )
        texts.clear()
        with contextlib.closing(follow) as batches:
            take(count)
        assert len(texts) == count and texts[-1] == rows[-1]


def test_times_that_are_far_away_and_rows_that_are_late(reference):
    """One wrong time changes nothing; a clock that was set is told."""
    header, *rows = make_lines(make_values(100))
    odd = [f"9{rows[50]}"]
    made = watch(
        reference, in_batches([header, *rows[:50], *odd, *rows[50:]], [9] * 99)
    )
    calm = watch(reference, in_batches([header, *rows], [9] * 99))
    kinds = records.Change, records.Stretch
    assert [r for r in made if isinstance(r, kinds)] == [
        r for r in calm if isinstance(r, kinds)
    ]
    year = 365 * 86400
    for shift in (year, -year):
        begin_s = 1_700_000_000 + shift
        later = make_lines(
            make_values(200)[100:], 100, lambda i, s=begin_s: str(s + i * STEP_S)
        )
        made = watch(reference, in_batches([header, *rows, *later], [9] * 99))
        said = live_traffic.of_kind(made, records.Source)
        assert [s.what for s in said] == [records.CLOCK_STEP]
        assert ("ahead" if shift > 0 else "back") in said[0].detail
        assert len(live_traffic.of_kind(made, records.Stretch)) <= 4
        assert made[-2].windows > 150
    made = watch(reference, in_batches([header, *rows, *rows[:20]], [9] * 99))
    assert "late" in live_traffic.of_kind(made, records.Source)[0].detail
    assert made[-2].not_read == {"late": 20}


def test_a_silent_table_is_told_and_waits(reference):
    watched = table_monitor.TableMonitor(reference, sources.Tally(), silent_s=1.0)
    (first, *_) = in_batches(make_lines(make_values(60)), [100])
    made = watched.add(first._replace(is_live=True))
    made += watched.add(sources.Batch([], time.monotonic(), is_live=True))
    assert not live_traffic.of_kind(made, records.Source)
    watched._came_s -= 31  # three steps
    made = watched.add(sources.Batch([], time.monotonic(), is_live=True))
    assert [m.what for m in made] == [records.SILENT]
    assert not watched.add(sources.Batch([], time.monotonic(), is_live=True))
    later = make_lines(make_values(70)[60:], 60)
    made = watched.add(next(in_batches(later, [100]))._replace(is_live=True))
    assert made[0].what == records.BACK


def test_lines_with_zero_bytes_are_left_out_and_counted(reference, tmp_path):
    """As after a crash of the writer: a block that was never written, in two places."""
    lines = make_lines(make_values(150))
    path, damaged = tmp_path / "x.csv", tmp_path / "damaged.csv"
    path.write_text("\n".join(lines[:40] + lines[41:100] + lines[101:]))
    cells = lines[40].replace(",", ",\0", 1)
    block = "\0" * 700 + lines[100]
    damaged.write_text(
        "\n".join([*lines[:40], cells, *lines[41:100], block, *lines[101:]])
    )
    made = watch(reference, table_sources.replay_lines(damaged, 0.0))
    assert_as_identified(made, path, reference)
    beat = live_traffic.of_kind(made, records.Heartbeat)[-1]
    assert beat.not_read == {"time_unread": 2} and beat.messages == 148


@pytest.mark.parametrize(("form", "piece"), [("csv", 50), ("json", 10**6)])
def test_a_line_that_is_too_long_is_left_out_and_counted(
    reference, tmp_path, caplog, monkeypatch, form, piece
):
    monkeypatch.setattr(table_sources, "_LONGEST_LINE", 500)
    lines = make_lines(make_values(150))
    if form == "json":
        names, *rows = (line.split(",") for line in lines)
        lines = [json.dumps(dict(zip(names, map(float, row)))) for row in rows]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines))
    long = [*lines[:40], lines[40] * 20, *lines[40:], "7" * 501]
    text = "\n".join(long).encode()

    def put(inbox):
        chunks = (text[i : i + piece] for i in range(0, len(text), piece))
        table_sources.put_lines(chunks, "long.csv", None, inbox)

    made = watch(reference, sources.read_in_thread(put))
    assert_as_identified(made, path, reference)
    beat = live_traffic.of_kind(made, records.Heartbeat)[-1]
    assert beat.not_read == {"time_unread": 2} and beat.packets == len(long)
    said = "long.csv: a line of {} bytes is left out, the longest allowed is 500 bytes"
    assert [record.getMessage() for record in caplog.records] == [
        said.format(size) for size in (len(long[40]), 501)
    ]


def test_the_position_behind_a_line_that_is_too_long(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(table_sources, "_LONGEST_LINE", 500)
    text = "\n".join(["time,load", "7" * 2000, "1,2", "8" * 900])
    pieces = (text[i : i + 99].encode() for i in range(0, len(text), 99))
    parts = table_sources.split_lines(pieces, "x", is_whole=False)
    lines = [line for part in parts for line in part]
    assert [line.text for line in lines] == ["time,load", "\0", "1,2"]
    assert [text[: line.end][-1] for line in lines] == ["\n"] * 3
    # The last one has no end, since another file follows.
    assert "x: a line of 900 bytes is left out" in caplog.messages[-1]


def test_what_is_no_table_is_refused(reference, tmp_path):
    for text, said in (
        ('[{"time": 1}]\n', "a JSON list cannot grow"),
        ("hello\nworld\n", "no column has times"),
        ("time,load\n1,2\n601,3\n", "600 s apart"),
        ("time,other\n1,2\n2,3\n", "none of the 3 columns"),
    ):
        path = tmp_path / "x.csv"
        path.write_text(text)
        with pytest.raises(SiamjaxError, match=said):
            watch(reference, table_sources.replay_lines(path, 0.0))
    pcap, pcapng = b"\xd4\xc3\xb2\xa1\2\0\4\0", b"\n\r\r\n\x1c\0\0\0"
    for data in (pcap, pcapng, "time,load\n".encode("utf-16")):
        path.write_bytes(data)
        with pytest.raises(SiamjaxError, match="not a table that grows"):
            watch(reference, table_sources.replay_lines(path, 0.0))
    with pytest.raises(UsageError, match="have no servers"):
        watch(reference, [], by_server=True)


def test_a_stream_of_lines_and_a_replay_in_time(reference, tmp_path):
    lines = make_lines(make_values(100))
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines))
    reader, writer = os.pipe()

    def write():
        with open(writer, "wb", buffering=0) as file:
            data = path.read_bytes()
            for start in range(0, len(data), 700):
                file.write(data[start : start + 700])

    thread = threading.Thread(target=write)
    thread.start()
    batches = sources.stream(
        open(reader, "rb", buffering=0), "-", sources.Tally(), table_sources.put_lines
    )
    made = watch(reference, batches)
    thread.join()
    assert_as_identified(made, path, reference)
    batches = [*table_sources.replay_lines(path, 2000.0)]  # half a second
    assert 5 < sum(len(batch.packets) > 0 for batch in batches) <= 101
    assert_as_identified(watch(reference, batches), path, reference)

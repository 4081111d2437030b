"""Events to counts: every number worked out by hand."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from siamjax.data import columns, counts
from siamjax.types import Events, Series, Session

KINDS = (
    "INVITE",
    "INVITE/100",
    "INVITE/180",
    "INVITE/200",
    "BYE",
    "icmp",
    "FOO",
    "OPTIONS/299",
)


def events(*rows):
    """Rows (ms, kind, retransmitted, latency in ms or None)."""
    rows = sorted(rows)
    return Events(
        time_ns=np.array([r[0] for r in rows], np.int64) * 1_000_000,
        direction=np.zeros(len(rows), np.int8),
        kind=np.array([KINDS.index(r[1]) for r in rows], np.int32),
        retransmitted=np.array([r[2] for r in rows], bool),
        latency_ns=np.array(
            [-1 if r[3] is None else r[3] * 1_000_000 for r in rows], np.int64
        ),
    )


def column(out, name):
    return out[:, [c.name for c in columns.SIP].index(name)]


def test_a_call_counts_in_its_columns_and_bins():
    binned = counts.bin_events(
        events(
            (100, "INVITE", False, None),
            (150, "INVITE/100", False, 50),
            (700, "INVITE", True, None),
            (1200, "INVITE/180", False, 1100),
            (1900, "INVITE/200", False, 1800),
            (1950, "INVITE/200", True, -1),
            (1960, "icmp", False, None),
            (1970, "FOO", False, None),
            (1980, "OPTIONS/299", False, None),
        ),
        KINDS,
        2.6,
        0.5,
    )
    assert binned.shape == (5, len(columns.SIP)) and binned.dtype == np.float32
    np.testing.assert_array_equal(column(binned, "INVITE"), [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(column(binned, "INVITE/1xx"), [1, 0, 1, 0, 0])
    np.testing.assert_array_equal(column(binned, "INVITE/2xx"), [0, 0, 0, 2, 0])
    np.testing.assert_array_equal(column(binned, "100"), [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(column(binned, "180"), [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(column(binned, "200"), [0, 0, 0, 2, 0])
    np.testing.assert_array_equal(column(binned, "rest/2xx"), [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(
        column(binned, "retransmitted requests"), [0, 1, 0, 0, 0]
    )
    np.testing.assert_array_equal(
        column(binned, "retransmitted answers"), [0, 0, 0, 1, 0]
    )
    np.testing.assert_array_equal(column(binned, "icmp"), [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(column(binned, "other"), [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(
        column(binned, "INVITE to ringing ms"), [np.nan, np.nan, 1100, np.nan, np.nan]
    )
    np.testing.assert_array_equal(
        column(binned, "INVITE to final ms"), [np.nan, np.nan, np.nan, 1800, np.nan]
    )
    np.testing.assert_array_equal(
        column(binned, "INVITE without ringing"), [1, 1, 0, 0, 0]
    )
    np.testing.assert_array_equal(
        column(binned, "INVITE without final"), [1, 1, 1, 0, 0]
    )
    np.testing.assert_array_equal(column(binned, "BYE without final"), [0, 0, 0, 0, 0])


def test_a_request_without_answer_stays_open_for_32_seconds():
    binned = counts.bin_events(events((0, "BYE", False, None)), KINDS, 40.0, 1.0)
    assert column(binned, "BYE without final").sum() == 32


def test_latency_is_the_mean_of_a_bin():
    binned = counts.bin_events(
        events(
            (0, "INVITE", False, None),
            (10, "INVITE", False, None),
            (100, "INVITE/200", False, 100),
            (210, "INVITE/200", False, 200),
        ),
        KINDS,
        1.0,
        1.0,
    )
    np.testing.assert_allclose(column(binned, "INVITE to final ms"), [150])


def test_no_event_at_all():
    binned = counts.bin_events(events(), KINDS, 3.0, 0.5)
    assert binned.shape == (6, len(columns.SIP)) and np.nansum(binned) == 0


def test_columns_of_a_kind_exist_and_do_not_depend_on_the_data():
    names = {column.name for column in columns.SIP}
    assert len(names) == len(columns.SIP)
    for kind in (
        "INVITE/503",
        "REGISTER/401",
        "BYE/481",
        "SUBSCRIBE/489",
        "X/999",
        "Y",
        "icmp",
    ):
        assert set(columns.names_of_kind(kind)) <= names
    assert columns.names_of_kind("INVITE/503") == ["INVITE/5xx", "503"]
    assert columns.names_of_kind("SUBSCRIBE/489") == ["rest/4xx"]
    assert columns.names_of_kind("X/999") == ["other"]


def test_counters_are_rows_already():
    series = Series(np.arange(3) * 10**9, np.ones((3, 2), np.float64))
    session = Session("a", 3.0, (), None, series)
    binned = counts.bin_session(session, ("x", "y"), 1.0, ())
    assert binned.shape == (3, 2) and binned.dtype == np.float32


@given(
    step_ns=st.integers(1_000_000, 2_000_000_000),
    rows_of_bin=st.integers(1, 7),
    bins=st.integers(1, 40),
    extra=st.integers(0, 6),
)
@example(step_ns=50_000_000, rows_of_bin=2, bins=100, extra=0)
def test_every_full_bin_of_a_series_is_there(step_ns, rows_of_bin, bins, extra):
    rows = max(rows_of_bin * bins + extra % rows_of_bin, 2)
    values = np.arange(rows, dtype=np.float32)[:, None]
    series = Series(np.arange(rows) * step_ns, values)
    means = counts.bin_series(series, rows_of_bin * step_ns / 1e9)
    bins = rows // rows_of_bin
    wanted = values[: bins * rows_of_bin].reshape(bins, rows_of_bin).mean(1)
    np.testing.assert_allclose(means[:, 0], wanted, rtol=1e-6)


@pytest.mark.parametrize("parts", [3, 7, 30, 600])
def test_a_step_that_is_no_whole_nanosecond_loses_no_bin(parts):
    rows = 300 * parts
    series = Series(np.arange(rows) * round(1e9 / parts), np.ones((rows, 1)))
    assert len(counts.bin_series(series, 1.0)) == 300


@given(bin_ms=st.integers(1, 5000), bins=st.integers(0, 300))
@example(bin_ms=100, bins=3)
def test_every_full_bin_of_events_is_there(bin_ms, bins):
    span_s = bins * bin_ms / 1000
    assert len(counts.bin_events(events(), KINDS, span_s, bin_ms / 1000)) == bins


def test_nanoseconds_of_infinity_are_the_latest_time():
    assert counts.nanoseconds(0.1 + 0.2) == 300_000_000
    assert counts.nanoseconds(np.inf) == np.iinfo(np.int64).max


def test_a_row_counts_as_often_as_packets_share_it():
    stream = events((100, "INVITE", False, None), (700, "FOO", False, None))
    single = counts.bin_events(stream, KINDS, 1.0, 0.5)
    shared = counts.bin_events(
        stream._replace(packets=np.array([1, 9])), KINDS, 1.0, 0.5
    )
    np.testing.assert_array_equal(column(shared, "INVITE"), [1, 0])
    assert column(single, "other").tolist() == [0, 1]
    assert column(shared, "other").tolist() == [0, 9]


@pytest.mark.parametrize("seed", range(4))
def test_batches_of_bins_have_the_counts_of_all_at_once(seed):
    """Answers come later than the batch of their request, and repeat across batches."""
    stream = make_stream(seed)
    at_once = counts.bin_events(stream, KINDS, 100.0, 0.5)
    binner, parts = counts.EventBinner(500_000_000, ("sip",)), []
    for bins in BATCHES:
        chosen = stream.take(in_bins(stream, binner.bins, bins))
        parts.append(binner.add(chosen, KINDS, bins))
        binner.forget() if bins in (2, 130) else None
    np.testing.assert_array_equal(np.concatenate(parts), at_once)


def test_sessions_that_are_counted_together_have_the_counts_of_each_alone():
    """Their times overlap; a session begins later than the others."""
    streams = [make_stream(seed) for seed in range(3)]
    streams[2] = streams[2].take(streams[2].time_ns >= 20 * 10**9)
    joined = Events(
        *map(np.concatenate, zip(*(s._replace(packets=()) for s in streams)))
    )
    joined = joined._replace(packets=None)
    session = np.repeat(np.arange(3), [len(s.time_ns) for s in streams])
    order = np.argsort(joined.time_ns, kind="stable")
    joined, session = joined.take(order), session[order]
    binner, parts = counts.EventBinner(500_000_000, ("sip",)), []
    for bins in BATCHES:
        inside = in_bins(joined, binner.bins, bins)
        chosen, sessions = joined.take(inside), 2 if bins <= 40 else 3
        part = binner.add_sessions(chosen, session[inside], sessions, KINDS, bins)
        parts.append(np.pad(part, [(0, 3 - sessions), (0, 0), (0, 0)]))
        binner.forget() if bins in (2, 130) else None
    together = np.concatenate(parts, 1)
    for i, stream in enumerate(streams):
        alone = counts.bin_events(stream, KINDS, 100.0, 0.5)
        first = 0 if i < 2 else 40
        np.testing.assert_array_equal(together[i, first:], alone[first:])


BATCHES = (1, 2, 40, 41, 130, 199, 200)


def in_bins(stream, first, end):
    """`[N]` bool: which events are in these bins of half a second."""
    bin_of = stream.time_ns // 500_000_000
    return (bin_of >= first) & (bin_of < end)


def make_stream(seed):
    """Calls whose answers come up to 40 s late, and some twice."""
    rng = np.random.default_rng(seed)
    asked_ms = np.sort(rng.integers(0, 90_000, 40))
    rows = [(int(ms), "INVITE", False, None) for ms in asked_ms]
    for kind in ("INVITE/180", "INVITE/200", "INVITE/100", "INVITE/200"):
        for ms in asked_ms[rng.random(40) < 0.7].tolist():
            late = int(rng.integers(0, 40_000))
            rows.append((ms + late, kind, bool(rng.random() < 0.1), late))
    return events(*[row for row in rows if row[0] < 100_000])

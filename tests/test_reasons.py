"""Why a stretch got its name: worked out by hand."""

import types

import numpy as np
import pytest

from siamjax.data import columns, features
from siamjax.identification import examples, explaining, reasons, sessions, timeline
from siamjax.types import Baseline, Column

TABLE = (
    Column("INVITE", "request"),
    Column("INVITE to final ms", "latency_final", empty=np.nan),
    Column("cpu", columns.COUNTER, heavy=False, empty=np.nan),
    Column("BYE", "request"),
)


def moved(condition="slow", deviation=0.7):
    """4 s normal, then 4 s in which INVITEs end and answers are slow."""
    counts = np.full((16, 4), [9.0, 50.0, 20.0, 3.0])
    counts[8:, :3] = 0.0, 500.0, np.nan
    mean = [np.log(10.0), np.log(51.0), 20.0, np.log(4.0)]
    baseline = Baseline(np.array(mean), np.full(4, deviation))
    run = types.SimpleNamespace(
        columns=TABLE,
        scaler=features.make_scaler(TABLE, floor=0.3, clip=30.0),
        config=types.SimpleNamespace(data=types.SimpleNamespace(bin_s=0.5)),
    )
    span = timeline.Span(4.0, 8.0, condition, 0.5, 0.4, "a@1", "blocked", 1.5)
    return span, reasons.find_moved(run, sessions.Traffic("x", counts, baseline), span)


def test_the_columns_that_moved_most_come_first_as_people_read_them():
    span, (first, second) = moved()  # the unit is 0.7 + 0.3
    assert (first.column, second.column) == ("INVITE", "INVITE to final ms")
    assert first.deviations == pytest.approx(-np.log(10), rel=1e-5)
    assert (first.normal, first.now) == pytest.approx((18.0, 0.0))  # 9 in half a second
    assert (second.normal, second.now) == pytest.approx((50.0, 500.0), rel=1e-4)
    line = reasons.describe(span, [first, second])
    assert line == (
        "INVITE 18 -> 0/s, INVITE to final 50 -> 500 ms; next is blocked, "
        "threshold 1.50"
    )
    unknown = reasons.describe(span._replace(condition="unknown"), [])
    assert "nearest is blocked" in unknown  # its nearest example, not the next
    record = reasons.as_record(span, [first])
    assert record["runner_up"] == "blocked"
    assert record["moved"][0]["column"] == "INVITE"


def test_numbers_are_written_without_an_exponent_up_to_a_million():
    values = (0.0, 0.0366, 999.4, 1443.7), (2e9, -25_000.4, 999.5, 123456.7)
    texts = reasons.describe_moved(
        reasons.Moved("x", normal, now, "", 3.0) for normal, now in zip(*values)
    )
    assert texts == [
        "x 0 -> 2e+09",
        "x 0.0366 -> -25000",
        "x 999 -> 1000",
        "x 1444 -> 123457",
    ]


def test_what_is_normal_needs_no_reason_and_small_moves_are_none():
    for condition in ("normal", "normal?"):
        span, none = moved(condition)
        assert none == [] and reasons.describe(span, none) == ""
    span, none = moved(deviation=9.0)
    assert none == []
    assert reasons.describe(span._replace(other=""), none) == (
        "nothing moved much; threshold 1.50"
    )


def test_a_stretch_is_shown_beside_the_nearest_example():
    """The window is the one that Span names, the example has its own baseline."""
    counts = np.full((16, 4), [9.0, 50.0, 20.0, 3.0])
    counts[8:, 0] = 0.0
    normal = Baseline(np.log1p(counts[0]), np.full(4, 0.7))
    normal.mean[2] = 20.0
    traffic = sessions.Traffic("new.pcap", counts, normal)
    run = types.SimpleNamespace(
        scaler=features.make_scaler(TABLE, floor=0.3, clip=30.0),
        config=types.SimpleNamespace(data=types.SimpleNamespace(bin_s=0.5, bins=8)),
    )
    library = examples.Examples(
        (examples.Place("b", "x", 0.0), examples.Place("a", "dir/old.pcap", 3.0)),
        np.stack([counts[:8], counts[8:]]),
        Baseline(*(np.stack([x, x]) for x in normal)),
    )
    span = timeline.Span(4.0, 8.0, "a", 0.25, 0.4, "", nearest=1, window_s=4.0)
    calm = span._replace(condition="normal")
    whys = ["", "INVITE gone"]
    (shown,) = explaining.explain_spans(run, traffic, [calm, span], whys, library)
    window, example = shown["window"], shown["example"]
    assert (window["start_s"], example["start_s"]) == (4.0, 3.0)
    assert example["condition"] == "a" and example["capture"] == "old.pcap"
    assert window["traffic"] == example["traffic"] and 0 in shown["rows"]
    assert window["traffic"]["largest"] == pytest.approx(np.log(10), rel=1e-3)
    (title, *_), (near, *_) = explaining.list_panels(shown)
    assert title == "a: new.pcap at 4 s\nINVITE gone"
    assert near == "nearest example, 0.25 away: a\nold.pcap at 3 s"

"""The records of the monitor: to JSON and back."""

import dataclasses
import json

import pytest

from siamjax.monitoring import records

CHANGE = records.Change(
    time="2026-11-26T09:44:15.500000Z",
    id="all@2026-11-26T09:44:10.000000Z#0",
    session="all",
    network="site_a",
    state=records.RAISED,
    stretch="all@2026-11-26T09:44:10.000000Z",
    ends=None,
    condition="delay",
    previous="normal",
    severity=records.KNOWN,
    onset="2026-11-26T09:44:10.000000Z",
    onset_error_s=4.0,
    distance=0.5,
    threshold=1.1,
    runner_up=("blocked", 0.9),
    example="delay_003@42",
    moved=({"column": "INVITE to final ms", "normal": 3.0, "now": 500.0},),
    candidates=("delay",),
)


def test_a_record_is_the_same_after_json():
    line = json.dumps(records.as_json(CHANGE), allow_nan=False)
    assert records.from_json(json.loads(line)) == CHANGE


def test_a_number_that_is_not_finite_is_none():

    record = dataclasses.replace(CHANGE, distance=float("nan"))
    assert records.as_json(record)["distance"] is None


@pytest.mark.parametrize(
    "value", [{}, {"kind": "weather"}, {"kind": "stop"}, {"kind": "stop", "x": 1}]
)
def test_what_is_no_record_is_refused(value):
    with pytest.raises(ValueError, match="a record"):
        records.from_json(value)


def test_times_are_exact_to_a_microsecond():
    time_ns = 1_795_686_255_123_456_000
    text = records.format_time(time_ns + 789)
    assert text == "2026-11-26T09:44:15.123456Z"
    assert records.parse_time(text) == time_ns
    with pytest.raises(ValueError, match="time zone"):
        records.parse_time("2026-11-26T09:44:15")

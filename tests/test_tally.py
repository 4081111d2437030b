"""What identification says of captures whose truth is known, counted."""

import json

import pytest

from siamjax.assessment import tally
from siamjax.identification.timeline import RECOVERING, UNKNOWN, Span
from siamjax.types import NORMAL, Label

EXAMPLES = ("normal", "blocked", "flood")


def spans(*stretches):
    """`Span`s of (name, begin) one after another, up to 100 s."""
    ends = [begin for _, begin in stretches[1:]] + [100.0]
    return [
        Span(begin, end, name, 0.1, 1.0, "")
        for (name, begin), end in zip(stretches, ends)
    ]


def judge(condition, *stretches, onset_s=50.0):
    label = None if condition == NORMAL else Label(condition, onset_s, 100.0)
    return tally.judge_capture("a", spans(*stretches), label, EXAMPLES, near_s=8.0)


@pytest.mark.parametrize(
    ("condition", "stretches", "group", "named", "error_s", "right"),
    [
        ("blocked", [(NORMAL, 0), ("blocked", 52)], "known", "blocked", 2, True),
        ("blocked", [(NORMAL, 0), ("blocked", 60)], "known", "blocked", 10, False),
        ("blocked", [(NORMAL, 0), ("flood", 52)], "known", "flood", 2, False),
        # The longest stretch counts, also where it has no name.
        (
            "blocked",
            [(NORMAL, 0), ("blocked", 50), (UNKNOWN, 60)],
            "known",
            UNKNOWN,
            10,
            False,
        ),
        ("blocked", [(NORMAL, 0)], "known", NORMAL, None, False),
        ("delay", [(NORMAL, 0), (UNKNOWN, 46)], "unseen", UNKNOWN, -4, True),
        ("delay", [(NORMAL, 0), ("blocked", 46)], "unseen", "blocked", -4, False),
        ("delay", [(NORMAL, 0)], "unseen", NORMAL, None, False),
        # The echo of a fault is none.
        (
            "delay",
            [(NORMAL, 0), (UNKNOWN, 46), (RECOVERING, 60)],
            "unseen",
            UNKNOWN,
            -4,
            True,
        ),
        (NORMAL, [(NORMAL, 0)], NORMAL, NORMAL, None, True),
        (NORMAL, [(NORMAL, 0), (UNKNOWN, 90)], NORMAL, UNKNOWN, None, False),
    ],
)
def test_a_verdict_on_a_capture(condition, stretches, group, named, error_s, right):
    row = judge(condition, *stretches)
    assert (row.group, row.named, row.onset_error_s) == (group, named, error_s)
    assert row.right == right and row.condition == condition


def test_counts_are_those_of_the_rows():
    rows = [
        judge("blocked", (NORMAL, 0), ("blocked", 51)),
        judge("blocked", (NORMAL, 0), ("blocked", 70)),
        judge("blocked", (NORMAL, 0), (UNKNOWN, 53)),
        judge("delay", (NORMAL, 0), ("blocked", 50)),
        judge("delay", (NORMAL, 0), ("blocked", 50)),
        judge("delay", (NORMAL, 0), ("flood", 50)),
        judge("delay", (NORMAL, 0), (UNKNOWN, 50)),
        judge("loss", (NORMAL, 0)),
        judge(NORMAL, (NORMAL, 0)),
        judge(NORMAL, (NORMAL, 0), ("flood", 20), (NORMAL, 30)),
    ]
    counts = tally.count_rows(rows, 8.0)
    assert counts["known"] == dict(
        captures=3,
        named_right=2,
        right=1,
        wrong={"blocked": {UNKNOWN: 1}},
        onset_error_s=dict(median=3.0, p90=pytest.approx(16.6)),
    )
    wrong = {"delay": {"blocked": 2, "flood": 1}, "loss": {NORMAL: 1}}
    assert counts["unseen"] == dict(
        captures=5,
        named_right=1,
        right=1,
        wrong=wrong,
        onset_error_s=dict(median=0.0, p90=0.0),
    )
    assert counts["normal"] == dict(captures=2, false_alarms=1)
    assert json.loads(json.dumps(counts, allow_nan=False)) == counts
    assert list(tally.describe_counts(counts)) == [
        "identification of test captures with the examples and the rule of the run:",
        "  known faults: 2 of 3 captures named right, 1 with the onset within 8 s",
        "    blocked was called unknown (1)",
        "    error of the onset: median 3.0 s, 90 % within 16.6 s",
        "  unseen faults: 1 of 5 captures called unknown, 1 with the onset within 8 s",
        "    delay was called blocked (2), flood (1)",
        "    loss was called normal (1)",
        "    error of the onset: median 0.0 s, 90 % within 0.0 s",
        "  normal: 1 of 2 captures with a false alarm",
    ]


def test_nothing_to_count_is_said_by_no_line():
    counts = tally.count_rows([], 8.0)
    assert counts["known"]["onset_error_s"] is None
    assert list(tally.describe_counts(counts)) == []


def test_names_of_strangers_are_shown_without_escapes():
    row = judge("\x1b[2J", (NORMAL, 0), ("blocked", 50))
    assert not any(
        "\x1b" in line for line in tally.describe_counts(tally.count_rows([row], 8.0))
    )

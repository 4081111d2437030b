"""Verdicts on captures whose truth is known: one row each, and their counts.

The schema of `identification` in results.json. FAULTS counts captures with a fault:

  {
    "near_s": the largest error in seconds of a right onset,
    "known": FAULTS of faults that have an example,
    "unseen": FAULTS of faults that have none,
    "normal": {
      "captures": how many,
      "false_alarms": how many are not called normal throughout
    },
    "captures": [the fields of `Row`]
  }

  FAULTS = {
    "captures": how many,
    "named_right": how many got the right name, which is `unknown` without an example,
    "right": how many of these have an onset error of at most near_s,
    "wrong": {CONDITION: {the name it got; `normal` if it was missed: how many}},
    "onset_error_s": {"median", "p90"} of the distance between onset and label, in the
                     captures in which a fault was seen; null if there is none
  }
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.identification.timeline import RECOVERING, UNKNOWN, Span
from siamjax.text import printable
from siamjax.types import NORMAL, Label

KNOWN, UNSEEN = "known", "unseen"


class Row(NamedTuple):
    """The verdict on one capture."""

    capture: str
    condition: str
    group: str  # KNOWN, UNSEEN or NORMAL
    named: str  # of the longest stretch not normal or recovering; NORMAL if none
    onset_error_s: float | None  # onset of that stretch minus the label's; None: none
    right: bool


def judge_capture(
    capture: str,
    spans: Sequence[Span],
    label: Label | None,
    examples: Sequence[str],
    near_s: float,
) -> Row:
    """Judges the timeline of a capture with one fault or none.

    Args:
      capture: its name.
      spans: of its timeline.
      label: of its fault; None: it is normal throughout.
      examples: names of the conditions that have an example.
      near_s: the largest error of a right onset.
    """
    faults = [span for span in spans if span.condition not in (NORMAL, RECOVERING)]
    longest = max(faults, key=lambda span: span.end_s - span.start_s, default=None)
    named = longest.condition if longest else NORMAL
    if label is None:
        calm = all(span.condition == NORMAL for span in spans)
        return Row(capture, NORMAL, NORMAL, named, None, calm)
    group = KNOWN if label.condition in examples else UNSEEN
    error_s = longest.start_s - label.onset_s if longest else None
    row = Row(capture, label.condition, group, named, error_s, False)
    near = error_s is not None and abs(error_s) <= near_s
    return row._replace(right=_named_right(row) and near)


def count_rows(rows: Sequence[Row], near_s: float) -> dict[str, Any]:
    """The `identification` of this module's docstring."""
    groups = {group: [row for row in rows if row.group == group] for group in _GROUPS}
    alarms = sum(not row.right for row in groups[NORMAL])
    return {
        "near_s": near_s,
        KNOWN: _faults(groups[KNOWN]),
        UNSEEN: _faults(groups[UNSEEN]),
        NORMAL: {"captures": len(groups[NORMAL]), "false_alarms": alarms},
        "captures": [row._asdict() for row in rows],
    }


def describe_counts(
    counts: dict[str, Any],
    title: str = "identification of test captures with the examples and the rule of "
    "the run:",
) -> Iterator[str]:
    """Lines that say what `count_rows` gives; none where no capture was judged."""
    if not counts["captures"]:
        return
    yield title
    for group, words in ((KNOWN, "named right"), (UNSEEN, "called unknown")):
        faults = counts[group]
        if not faults["captures"]:
            continue
        yield (
            f"  {group} faults: {faults['named_right']} of {faults['captures']} "
            f"captures {words}, {faults['right']} with the onset within "
            f"{counts['near_s']:g} s"
        )
        for condition, names in faults["wrong"].items():
            called = ", ".join(f"{printable(n)} ({k})" for n, k in names.items())
            yield f"    {printable(condition)} was called {called}"
        if error_s := faults["onset_error_s"]:
            yield (
                f"    error of the onset: median {error_s['median']:.1f} s, "
                f"90 % within {error_s['p90']:.1f} s"
            )
    if counts[NORMAL]["captures"]:
        yield (
            f"  normal: {counts[NORMAL]['false_alarms']} of "
            f"{counts[NORMAL]['captures']} captures with a false alarm"
        )


_GROUPS = (KNOWN, UNSEEN, NORMAL)


def _named_right(row):
    """Whether a fault got its name, or `unknown` if it has no example."""
    return row.named == (row.condition if row.group == KNOWN else UNKNOWN)


def _faults(rows):
    wrong = {}
    for row in rows:
        if not _named_right(row):
            wrong.setdefault(row.condition, Counter())[row.named] += 1
    errors_s = [abs(row.onset_error_s) for row in rows if row.onset_error_s is not None]
    median, p90 = np.quantile(errors_s, [0.5, 0.9]).tolist() if errors_s else (0, 0)
    return {
        "captures": len(rows),
        "named_right": sum(map(_named_right, rows)),
        "right": sum(row.right for row in rows),
        "wrong": {name: dict(wrong[name].most_common()) for name in sorted(wrong)},
        "onset_error_s": {"median": median, "p90": p90} if errors_s else None,
    }

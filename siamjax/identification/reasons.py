"""Why a stretch got its name: the columns that moved most against normal."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from siamjax.data import columns
from siamjax.identification.sessions import Traffic
from siamjax.identification.timeline import IN_DOUBT, UNKNOWN, Span
from siamjax.inference.runs import Run
from siamjax.text import short
from siamjax.types import NORMAL, Column

# The most columns that are named, and how many deviations a column must have moved.
LISTED, LEAST = 3, 1.0


class Moved(NamedTuple):
    """A column in a stretch of a session, against its baseline."""

    column: str
    normal: float  # typical value in the baseline
    now: float  # typical value in the stretch
    unit: str  # "/s", "ms", or "" of counters and of requests that wait
    deviations: float  # how far it moved; negative: down


def find_moved(run: Run, traffic: Traffic, span: Span) -> list[Moved]:
    """The columns that moved most in a stretch, the most first; none if it is normal.

    Args:
      run: has columns and scaler.
      traffic: the session, with its baseline.
      span: the stretch.
    """
    if span.condition in (NORMAL, IN_DOUBT):
        return []
    bin_s = run.config.data.bin_s
    first, end = round(span.start_s / bin_s), round(span.end_s / bin_s)
    # With NumPy: stretches have any length, and JAX would compile for each.
    counts, heavy = traffic.counts[first:end], np.asarray(run.scaler.heavy)
    x = np.where(heavy, np.log1p(np.maximum(counts, 0.0)), counts)  # as log_counts
    measured = np.isfinite(x)
    count = measured.sum(0)
    stretch = np.where(measured, x, 0.0).sum(0) / np.maximum(count, 1)
    normal = np.asarray(traffic.baseline.mean)
    unit = np.asarray(traffic.baseline.deviation) + np.asarray(run.scaler.floor)
    moved = np.where(count > 0, (stretch - normal) / unit, 0.0)  # [F]
    order = np.argsort(-np.abs(moved), kind="stable")[:LISTED]
    return [
        Moved(
            run.columns[i].name,
            _value(normal[i], heavy[i], run.columns[i], bin_s),
            _value(stretch[i], heavy[i], run.columns[i], bin_s),
            _unit(run.columns[i]),
            float(moved[i]),
        )
        for i in order
        if abs(moved[i]) >= LEAST
    ]


def describe(span: Span, moved: Sequence[Moved]) -> str:
    """A line that says why a stretch got its name; empty if it is normal."""
    if span.condition in (NORMAL, IN_DOUBT):
        return ""
    parts = describe_moved(moved)
    other = describe_other(span.condition, span.other)
    other = f"{other}, " if other else ""
    what = ", ".join(parts) or "nothing moved much"
    line = f"{what}; {other}threshold {span.threshold:.2f}"
    if math.isfinite(span.p_value):
        line += f", p {span.p_value:.3f}"
    if math.isfinite(span.onset_error_s):
        line += f"; begins within {span.onset_error_s:.1f} s of {span.start_s:.1f} s"
    if span.candidates[1:]:
        names = " or ".join(short(name, 30) for name in span.candidates[1:])
        line += f"; it may be {names}"
    return line


def describe_other(condition: str, other: str) -> str:
    """`next is blocked`; of `unknown`, which has no example, `nearest is blocked`.

    Empty if there is no other condition.
    """
    rank = "nearest" if condition == UNKNOWN else "next"
    return f"{rank} is {short(other, 30)}" if other else ""


def describe_moved(moved: Iterable[Moved]) -> list[str]:
    """A text for each column, such as `INVITE/503 0 -> 14.2/s`."""
    parts = []
    for column, normal, now, unit, _ in moved:
        name = short(column.removesuffix(" ms"), 30)
        end = " ms" if unit == "ms" else unit
        parts.append(f"{name} {_number(normal)} -> {_number(now)}{end}")
    return parts


def _number(x: float) -> str:
    """Three digits; up to a million without an exponent."""
    return f"{x:.0f}" if 999.5 <= abs(x) < 1e6 else f"{x:.3g}"


def as_record(span: Span, moved: Sequence[Moved]) -> dict[str, Any]:
    """The same as plain values, for JSON."""
    return dict(moved=[m._asdict() for m in moved], runner_up=span.other or None)


def _value(x: Any, heavy: Any, column: Column, bin_s: float) -> float:
    """A mean of log counts as people read it: messages per second, or the value."""
    value = float(np.expm1(x)) if heavy else float(x)
    return value / bin_s if _unit(column) == "/s" else value


def _unit(column: Column) -> str:
    if column.role.startswith("latency"):
        return "ms"
    if column.role == columns.COUNTER or column.role.startswith("open"):
        return ""
    return "/s"

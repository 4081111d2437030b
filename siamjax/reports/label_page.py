"""The page on which a capture gets its labels: its traffic over time, and its rows."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from siamjax.reports import page
from siamjax.types import Events, Label, Series

# The most points of a line, and the most lines of a capture.
_POINTS, _LINES = 500, 24
# The most kinds of messages that have a line of their own.
_KINDS = 8
_SCRIPTS = ("tables.js", "timelines.js", "label.js")


def write_label_page(
    path: str | os.PathLike,
    *,
    file: str,
    span_s: float,
    lines: Sequence[dict[str, Any]],
    labels: Sequence[Label],
    conditions: Sequence[str],
    form: dict[str, Any],
) -> None:
    """Writes the page, atomically.

    Args:
      path: of the HTML file.
      file: the capture's name in the table of labels.
      span_s: its length.
      lines: of its traffic, `{name, values}`, see `lines_of_events`.
      labels: that it has already; none: not labelled, or normal.
      conditions: names to choose of.
      form: how rows are written: `columns` (names), `unit_s` and `zero` (a time is
        `zero + seconds / unit_s`), `step_s` (the last row belongs to a stretch of a
        table).
    """
    data = dict(
        title=f"Labels of {file}",
        subtitle=f"{span_s:.1f} s. Nothing here changes a file: copy or download rows.",
        file=file,
        end_s=span_s,
        lines=list(lines),
        labels=[
            dict(condition=x.condition, start_s=x.onset_s, end_s=min(x.clear_s, span_s))
            for x in labels
        ],
        form=form,
    )
    page.build_page(path, data, _SCRIPTS, conditions=conditions)


def lines_of_events(
    events: Events, kinds: Sequence[str], span_s: float
) -> list[dict[str, Any]]:
    """Lines of a capture over time: messages a second, and their mean latency."""
    packets = np.ones(len(events.kind)) if events.packets is None else events.packets
    edges_ns = np.linspace(0, max(span_s, 1e-3) * 1e9, _POINTS + 1)
    seconds = np.diff(edges_ns)[0] / 1e9
    is_message = np.array([":" in kind for kind in kinds], bool)[events.kind]
    is_answer = np.array(["/" in kind for kind in kinds], bool)[events.kind]

    def rate(chosen):
        rows = events.time_ns[chosen], edges_ns
        return np.histogram(*rows, weights=packets[chosen])[0] / seconds

    answered = events.latency_ns >= 0
    total_ms, _ = np.histogram(
        events.time_ns[answered], edges_ns, weights=events.latency_ns[answered] / 1e6
    )
    with np.errstate(invalid="ignore"):
        latency_ms = total_ms / np.histogram(events.time_ns[answered], edges_ns)[0]
    lines = {
        "requests / s": rate(is_message & ~is_answer),
        "answers / s": rate(is_message & is_answer),
        "repeated / s": rate(events.retransmitted),
        "latency, ms": latency_ms,
    }
    counts = np.bincount(events.kind, packets, minlength=len(kinds))
    for kind in np.argsort(-counts, kind="stable")[:_KINDS]:
        if counts[kind]:
            lines[f"{kinds[kind]} / s"] = rate(events.kind == kind)
    return [dict(name=name, values=_plain(values)) for name, values in lines.items()]


def lines_of_series(series: Series, names: Sequence[str]) -> list[dict[str, Any]]:
    """Lines of counters over time, in the order of the columns.

    Where there are more columns than lines, those are taken that leave their usual
    range most: by their largest distance from the median, in interquartile ranges.
    """
    rows = len(series.values)
    starts = np.unique(np.linspace(0, rows, min(rows, _POINTS) + 1).astype(int))[:-1]
    measured = ~np.isnan(series.values)
    count = np.add.reduceat(measured, starts, dtype=int)
    total = np.add.reduceat(np.where(measured, series.values, 0.0), starts, dtype=float)
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)  # [points, F]
    chosen = list(range(len(names)))
    if len(names) > _LINES:
        filled = np.where(np.isnan(means), np.nanmean(means), means)
        low, middle, high = np.quantile(filled, [0.25, 0.5, 0.75], axis=0)
        far = np.abs(filled - middle).max(0) / np.maximum(high - low, 1e-9)
        chosen = sorted(np.argsort(-far, kind="stable")[:_LINES].tolist())
    return [dict(name=names[f], values=_plain(means[:, f])) for f in chosen]


def _plain(values):
    """Numbers of four digits: the page shows no more."""
    return [float(f"{value:.4g}") for value in values]

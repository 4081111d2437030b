"""What identify prints: stretches as lines of text or of JSON, and failures."""

import json
import logging
import math
import os
import textwrap
from collections.abc import Sequence
from typing import Any

from siamjax.data import prepared
from siamjax.identification import readings, reasons, sessions
from siamjax.identification.timeline import Span
from siamjax.reports import page
from siamjax.text import printable, short, terminal_width
from siamjax.types import SiamjaxError

_LOG = logging.getLogger(__name__)
# Characters of a row of the table besides the two names, and of the first name if the
# terminal has them.
_NUMBERS, _NAME = 37, 19


def report_failure(
    capture: str | os.PathLike, error: Exception, as_json: bool
) -> dict[str, Any]:
    """Logs why a capture has no verdict; returns its row of the picture."""
    reason = str(error).removeprefix(f"{capture}: ")
    if isinstance(error, OSError):
        reason = error.strerror or reason
    elif not isinstance(error, SiamjaxError):
        reason = f"{type(error).__name__}: {error}"
        _LOG.debug("%s", reason, exc_info=error)
    _LOG.error("%s: no verdict: %s", printable(capture), printable(reason))
    if as_json:
        record = dict(capture=str(capture), error=reason)
        if isinstance(error, readings.NoEvidence):
            report = readings.report_as_json(error.report)
            record = dict(capture=str(capture), error=error.reason, **report)
        print(json.dumps(record), flush=True)
    name = prepared.session_name(capture)
    return page.timeline(name, (), None, warning=f"no verdict: {reason}", end_s=0.0)


def print_as_text(
    capture: str | os.PathLike,
    traffic: sessions.Traffic,
    spans: Sequence[Span],
    moved: Sequence[Sequence[reasons.Moved]],
) -> None:
    """Prints the stretches of a capture as a table, with the columns that moved.

    Args:
      capture: its path.
      traffic: what was read of it.
      spans: the stretches.
      moved: the columns of each.
    """
    notes = [f"  network: {traffic.network.name}"] if traffic.network else []
    notes += [f"  note: {warning}" for warning in traffic.warnings]
    heading, *rows = format_spans(spans, terminal_width())
    lines = [str(capture), *notes, heading]
    for row, span, columns_moved in zip(rows, spans, moved):
        lines.append(row)
        if why := reasons.describe(span, columns_moved):
            lines += textwrap.wrap(
                f"why: {why}",
                terminal_width(),
                initial_indent=" " * 19,
                subsequent_indent=" " * 24,
            )
    print("\n".join(map(printable, lines)), flush=True)


def print_as_json(
    capture: str | os.PathLike,
    traffic: sessions.Traffic,
    spans: Sequence[Span],
    moved: Sequence[Sequence[reasons.Moved]],
) -> None:
    """`print_as_text` as JSON lines, one for each stretch."""
    for span, columns_moved in zip(spans, moved):
        fields = span._asdict()
        for name in ("other", "nearest"):  # runner_up and example say the same
            del fields[name]
        record = dict(
            capture=str(capture),
            **fields,
            **reasons.as_record(span, columns_moved),
            network=traffic.network.name if traffic.network else None,
            calibrated=traffic.calibrated,
            warnings=traffic.warnings,
            not_read=readings.count_not_read(traffic.report),
        )
        print(json.dumps(_finite(record), allow_nan=False), flush=True)


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """A record with None for each number that is not finite, and `not_finite`, their
    names."""
    odd = [
        name
        for name, value in record.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    return {**record, **dict.fromkeys(odd), "not_finite": odd}


def format_spans(spans: Sequence[Span], width: int) -> list[str]:
    """A table with a heading and a row for each span, `width` characters wide.

    Names that are too long lose their middle.
    """
    longest = max(len(short(span.condition)) for span in spans)
    name = min(max(_NAME, longest), (width - _NUMBERS) // 2)
    example = width - _NUMBERS - name
    nearest = "nearest example" if example > _NAME else "example"
    rows = [["from s", "to s", "condition", "distance", "next", nearest]]
    for span in spans:
        distance, other, near = f"{span.distance:.2f}", "-", span.example
        if math.isfinite(span.margin):
            other = f"{span.distance + span.margin:.2f}"
        if not math.isfinite(span.distance):
            distance, near = "-", "no distance"
        row = [f"{span.start_s:.1f}", f"{span.end_s:.1f}", span.condition]
        rows.append([*row, distance, other, near])
    return [
        f"{start:>8} {end:>8}  {short(condition, name):{name}} {distance:>8} "
        f"{other:>6}  {short(near, example)}"
        for start, end, condition, distance, other, near in rows
    ]

"""Records as lines for people."""

import textwrap

from siamjax.identification import reasons
from siamjax.monitoring import records
from siamjax.text import printable, short, terminal_width

_INDENT = " " * 21


def describe(record: records.Record) -> str:
    """A record as text; empty: it is for machines only."""
    if isinstance(record, records.Change):
        return _change(record)
    if isinstance(record, records.Heartbeat):
        return _line(record, _heartbeat(record))
    if isinstance(record, records.Source):
        return _line(record, f"source {record.what}: {record.detail}")
    if isinstance(record, records.Start):
        again = ", from the saved state" if record.resumed else ""
        return _line(record, f"watches {record.source} by {record.workdir}{again}")
    if isinstance(record, records.Stop):
        return _line(record, f"stops: {record.reason}")
    return ""


def _line(record, text):
    network = f" ({record.network})" if record.network else ""
    session = f"{short(record.session)}{network}: " if record.session else ""
    return printable(f"{record.time[:19].replace('T', ' ')}  {session}{text}")


def _change(change):
    distance = "no distance" if change.distance is None else f"{change.distance:.2f}"
    what = f"{change.condition} since {change.onset[11:19]}, {distance}"
    if change.state == records.REVISED:
        what = f"not {change.previous} but {what}"
        if change.previous == change.condition:
            what = f"{change.condition} since {change.onset[11:19]} already, {distance}"
    if change.example:
        what += f" from {change.example}"
    lines = [_line(change, what)]
    if change.severity != records.NORMAL:
        moved = (reasons.Moved(**column) for column in change.moved)
        parts = reasons.describe_moved(moved) or ["nothing moved much"]
        if change.runner_up:
            parts.append(reasons.describe_other(change.condition, change.runner_up[0]))
        lines += textwrap.wrap(
            printable(f"why: {', '.join(parts)}"),
            terminal_width(),
            initial_indent=_INDENT,
            subsequent_indent=_INDENT + " " * 5,
        )
    return "\n".join(lines)


def _heartbeat(beat):
    missing = ", ".join(f"{n} {cause}" for cause, n in beat.not_read.items())
    lost = beat.dropped + beat.shed
    units = ("lines", "rows") if beat.is_table else ("packets", "messages")
    return (
        f"{beat.packets} {units[0]}, {beat.messages} {units[1]}, "
        f"lag {beat.lag_s:.1f} s, {beat.memory_bytes / 1e6:.0f} MB"
        + (f", {lost} {units[0]} lost" if lost else "")
        + (f", not read: {missing}" if missing else "")
    )

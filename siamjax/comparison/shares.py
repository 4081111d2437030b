"""Who did what: the share of each worker in a comparison."""

from collections.abc import Iterable
from typing import Any

from siamjax.comparison import studies

UNKNOWN = ["unknown", 0]  # before workers were recorded
HEADINGS = ("host", "process", "cells", "seconds", "taken over", "from", "lost")


def list_shares(records: Iterable[studies.Opened]) -> list[dict[str, Any]]:
    """A row for each worker process of a comparison, by host and process.

    Args:
      records: all studies.
    Returns:
      Dicts with the keys `host`, `process`, `cells` (that it finished), `seconds` (in
      which it was at work), `taken over` (those of its cells that another worker had
      before), `from` (which workers) and `lost` (cells that others took over from it).
    """
    shares: dict[tuple[str, int], dict[str, Any]] = {}
    times: dict[tuple[str, int], list[tuple[float, float]]] = {}

    def share(worker):
        host, process = worker or UNKNOWN
        empty = dict.fromkeys(HEADINGS, 0) | {"from": set()}
        row = empty | dict(host=host, process=process)
        return shares.setdefault((host, process), row)

    for record in records:
        for trial in studies.finished_trials(record).values():
            worker = trial.user_attrs.get(studies.WORKER)
            cells = len(trial.user_attrs.get(studies.CELLS, ()))
            row = share(worker)
            row["cells"] += cells
            if trial.datetime_start and trial.datetime_complete:
                times.setdefault((row["host"], row["process"]), []).append(
                    (
                        trial.datetime_start.timestamp(),
                        trial.datetime_complete.timestamp(),
                    )
                )
            lost = trial.user_attrs.get(studies.LOST)
            if lost:
                row["taken over"] += cells
                row["from"].add(" ".join(map(str, lost)))
                share(lost)["lost"] += cells
    for name, row in shares.items():
        row["seconds"] = round(_covered_s(times.get(name, [])), 1)
        row["from"] = ", ".join(sorted(row["from"]))
    return [shares[name] for name in sorted(shares)]


def _covered_s(times):
    """The length of what intervals cover together: under `vmap` they overlap."""
    covered, last = 0.0, float("-inf")
    for begin, end in sorted(times):
        covered += max(end - max(begin, last), 0.0)
        last = max(last, end)
    return covered

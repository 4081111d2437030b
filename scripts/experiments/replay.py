"""Replays captures or tables through the monitor: are its verdicts identify's?

python -m scripts.experiments.replay --workdir runs/first data/testbed/captures
"""

import math
from collections.abc import Sequence

from absl import app, flags

from siamjax.data import columns, prepared
from siamjax.identification import identify, references
from siamjax.inference import runs
from siamjax.monitoring import (
    monitor,
    records,
    sources,
    table_monitor,
    table_sources,
    watching,
)

_WORKDIR = flags.DEFINE_string("workdir", None, "An evaluated run.", required=True)
_SPEED = flags.DEFINE_float("speed", 0.0, "See siamjax monitor --speed.")


def replay(reference: references.Reference, path: str, speed: float) -> dict:
    """How far the monitor is from identify on one capture or table."""
    tally = sources.Tally()
    if is_of_counters(reference):
        watched = table_monitor.TableMonitor(reference, tally)
        batches = table_sources.replay_lines(path, speed)
    else:
        watched = monitor.Monitor(reference, tally)
        batches = sources.replay(path, speed, tally)
    made = list(watching.watch(watched, batches, source=path, heartbeat_s=1e9))
    spans = identify.compare_capture(path, reference).spans
    stretches = [r for r in made if isinstance(r, records.Stretch)]
    changes = [r for r in made if isinstance(r, records.Change)]
    same = [s.condition for s in stretches] == [s.condition for s in spans]
    return dict(
        capture=prepared.session_name(path),
        same=same,
        onset_s=_largest((s.start_s, x.start_s) for s, x in zip(stretches, spans)),
        distance=_largest((s.distance, x.distance) for s, x in zip(stretches, spans)),
        stretches=len(spans),
        raised=sum(c.state == records.RAISED for c in changes),
        revised=sum(c.state == records.REVISED for c in changes),
        cleared=sum(c.state == records.CLEARED for c in changes),
    )


def is_of_counters(reference: references.Reference) -> bool:
    """Whether a run reads tables."""
    return reference.run.columns[0].role == columns.COUNTER


def _largest(pairs):
    """The largest difference; two numbers that are not finite are equal."""
    differences = [
        abs(x - y) if x is not None and math.isfinite(y) else 0.0 for x, y in pairs
    ]
    return max(differences, default=0.0)


def main(argv: Sequence[str]) -> None:
    reference = references.open_reference(runs.open_run(_WORKDIR.value))
    rows = []
    is_table = is_of_counters(reference)
    for path in identify.list_captures(argv[1:], is_table=is_table):
        rows.append(replay(reference, str(path), _SPEED.value))
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    print(
        f"{len(rows)} captures, {sum(row['same'] for row in rows)} with the same "
        f"conditions; largest difference of an onset "
        f"{max(row['onset_s'] for row in rows):.1e} s, of a distance "
        f"{max(row['distance'] for row in rows):.1e}; "
        f"{sum(row['stretches'] for row in rows)} stretches, "
        f"{sum(row['raised'] for row in rows)} raised, "
        f"{sum(row['revised'] for row in rows)} revised, "
        f"{sum(row['cleared'] for row in rows)} cleared"
    )


if __name__ == "__main__":
    app.run(main)

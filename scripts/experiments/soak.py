"""Memory, lag and speed of the monitor over a long time of traffic.

The captures of a folder are joined in turn, again and again, without a pause. `--times`
puts so many copies of each packet, with a Call-ID of its own, into the same time.

  python -m scripts.experiments.soak --workdir runs/first --hours 1 --speed 50
"""

import collections
import itertools
import re
import string
import time
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags

from siamjax.capture import packets
from siamjax.identification import identify
from siamjax.inference import runs
from siamjax.monitoring import monitor, records, sources

_WORKDIR = flags.DEFINE_string("workdir", None, "An evaluated run.", required=True)
_CAPTURES = flags.DEFINE_string(
    "captures", "data/testbed/captures", "Folder of captures."
)
_HOURS = flags.DEFINE_float("hours", 1.0, "Hours of traffic.")
_SPEED = flags.DEFINE_float("speed", 50.0, "As of siamjax monitor; 0: the fastest.")
_TIMES = flags.DEFINE_integer("times", 1, "Copies of each packet.")
_CALL_ID = re.compile(rb"\n(?:Call-ID|i): ([^\r\n]*)")
_SIGNS = string.digits + string.ascii_letters


def endless(paths: Sequence[str], times: int) -> Iterator[sources.Packet]:
    """The packets of captures in turn, in one time; copies have other Call-IDs."""
    tables = [
        bytes.maketrans(_SIGNS.encode(), (_SIGNS[i:] + _SIGNS[:i]).encode())
        for i in range(times)
    ]
    begin_ns = 1_700_000_000 * 10**9
    for path in itertools.cycle(paths):
        first_ns = last_ns = None
        for time_ns, link, frame, length in packets.read_packets(
            path, collections.Counter()
        ):
            first_ns = time_ns if first_ns is None else first_ns
            last_ns = begin_ns + max(time_ns - first_ns, 0)
            match = times > 1 and _CALL_ID.search(frame)
            for table in tables:
                renamed = frame
                if match:  # of the same length, so that no header must change
                    name = match[1].translate(table)
                    renamed = frame[: match.start(1)] + name + frame[match.end() :]
                yield last_ns, link, renamed, length
        begin_ns = last_ns + 10**8


def paced(some: Iterator[sources.Packet], speed: float, seconds: float):
    """Batches of packets when they are due, for so many seconds of their time."""
    start_s, zero_ns, waiting = time.monotonic(), None, []
    due_ns = 0
    for packet in some:
        if zero_ns is None:
            zero_ns = due_ns = packet[0]
        if packet[0] >= due_ns + 10**8 or len(waiting) >= 4096:
            yield sources.Batch(waiting, time.monotonic())
            waiting, due_ns = [], packet[0]
            if packet[0] - zero_ns > seconds * 1e9:
                return
            if speed:
                due_s = start_s + (due_ns - zero_ns) / 1e9 / speed
                time.sleep(max(due_s - time.monotonic(), 0))
        waiting.append(packet)


def main(argv: Sequence[str]) -> None:
    del argv
    reference = identify.open_reference(runs.open_run(_WORKDIR.value))
    paths = list(map(str, identify.list_captures([_CAPTURES.value], is_table=False)))
    watched = monitor.Monitor(reference, sources.Tally())
    made: collections.Counter[str] = collections.Counter()
    memory, lags = [], []
    seconds = _HOURS.value * 3600
    start_s, busy_s, first_s = time.monotonic(), 0.0, None
    next_s = start_s
    for batch in paced(endless(paths, _TIMES.value), _SPEED.value, seconds):
        before_s = time.thread_time()
        told = watched.add(batch)
        busy_s += time.thread_time() - before_s
        for record in told:
            state = getattr(record, "state", "")
            made[f"{record.kind} {state}".strip()] += 1
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + 1.0
            beat = watched.heartbeat()
            now_s = records.parse_time(beat.time) / 1e9
            first_s = now_s if first_s is None else first_s
            memory.append(((now_s - first_s) / 3600, beat.memory_bytes / 1e6))
            lags.append(beat.lag_s)
    beat = watched.heartbeat()
    took_s = time.monotonic() - start_s
    hours, megabytes = np.array(memory).T
    late = hours > hours[-1] / 4
    slope, level = np.polyfit(hours[late], megabytes[late], 1)
    spread = np.std(megabytes[late] - slope * hours[late] - level)
    print(
        f"{beat.packets} packets in {took_s:.0f} s, {beat.packets / took_s:.0f} a "
        f"second, {beat.packets / busy_s:.0f} a second of one processor; "
        f"{seconds / 3600:g} h of traffic"
    )
    print(
        f"memory {megabytes[late].min():.0f} to {megabytes[late].max():.0f} MB after "
        f"the first quarter, slope {slope:+.2f} MB an hour, spread {spread:.2f} MB"
    )
    print(f"lag {max(lags[2:], default=0):.2f} s at most after the start")
    print(", ".join(f"{count} {name}" for name, count in made.items()))


if __name__ == "__main__":
    app.run(main)

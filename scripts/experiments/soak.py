"""Memory, lag and speed of the monitor over a long time of traffic.

The captures of a folder are joined in turn, again and again, without a pause. `--times`
puts so many copies of each packet, with a Call-ID of its own, into the same time.

  python -m scripts.experiments.soak --workdir runs/first --hours 6 --speed 50

With `--trace` it lists the lines of code whose memory grew most; that takes time. With
`--write` it only writes the packets, for a monitor that reads them:

  python -m scripts.experiments.soak --write --speed 1 --times 400 |
    siamjax monitor --workdir runs/first --heartbeat_s 1 -
"""

import collections
import contextlib
import itertools
import re
import struct
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from absl import app, flags

from siamjax.capture import packets
from siamjax.identification import identify, references
from siamjax.inference import runs
from siamjax.monitoring import monitor, records, sources

_WORKDIR = flags.DEFINE_string("workdir", None, "An evaluated run.")
_CAPTURES = flags.DEFINE_string(
    "captures", "data/testbed/captures", "Folder of captures."
)
_HOURS = flags.DEFINE_float("hours", 1.0, "Hours of traffic.")
_SPEED = flags.DEFINE_float("speed", 50.0, "As of siamjax monitor; 0: the fastest.")
_TIMES = flags.DEFINE_integer("times", 1, "Copies of each packet.")
_WRITE = flags.DEFINE_bool("write", False, "Write the packets to standard output.")
_TRACE = flags.DEFINE_bool("trace", False, "Trace the memory that Python takes.")
# The slope of memory is that of the means of so many parts of the time: within a part,
# one sample is like the next.
_PARTS = 12
# The host in a Call-ID, in place of which a copy has its number.
_HOST = re.compile(rb"\n(?:Call-ID|i): [^\r\n@]*@([^\r\n]*)")


def endless(paths: Sequence[str], times: int) -> Iterator[sources.Packet]:
    """The packets of captures in turn, in one time; copies have other Call-IDs."""
    begin_ns = time.time_ns()
    for path in itertools.cycle(paths):
        first_ns = last_ns = None
        for time_ns, link, frame, length in packets.read_packets(
            path, collections.Counter()
        ):
            first_ns = time_ns if first_ns is None else first_ns
            last_ns = begin_ns + max(time_ns - first_ns, 0)
            yield last_ns, link, frame, length
            host = times > 1 and _HOST.search(frame)
            for number in range(1, times if host else 1):
                # Of the same length, so that no header must change.
                name = b"%0*d" % (len(host[1]), number)
                renamed = frame[: host.start(1)] + name + frame[host.end() :]
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


def slope_and_error(hours: np.ndarray, level: np.ndarray) -> tuple[float, float]:
    """The slope of a level an hour, and its standard error.

    Args:
      hours, level: `[N]` samples, in order.
    """
    parts = np.array_split(np.arange(len(hours)), _PARTS)
    x, y = (
        np.array([values[part].mean() for part in parts]) for values in (hours, level)
    )
    x = x - x.mean()
    slope = x @ y / (x @ x)
    rest = y - y.mean() - slope * x
    return slope, np.sqrt(rest @ rest / (_PARTS - 2) / (x @ x))


class Samples:
    """What the monitor takes, sampled once a second.

    Attributes:
      rows: of each sample, hours of traffic, MB of memory, and lag in seconds.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, float]] = []
        self._first_s: float | None = None
        self._next_s = self._next_line_s = time.monotonic()
        self._before: tracemalloc.Snapshot | None = None

    def take(self, watched: monitor.Monitor) -> None:
        """Takes a sample if a second passed, and prints one a minute."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + 1.0
        beat = watched.heartbeat()
        time_s = records.parse_time(beat.time) / 1e9
        self._first_s = time_s if self._first_s is None else self._first_s
        hours = (time_s - self._first_s) / 3600
        self.rows.append((hours, beat.memory_bytes / 1e6, beat.lag_s))
        if now_s < self._next_line_s:
            return
        self._next_line_s = now_s + 60.0
        text = f"{hours:.2f} h  {beat.memory_bytes / 1e6:.1f} MB"
        if tracemalloc.is_tracing():
            text += f"  {tracemalloc.get_traced_memory()[0] / 1e6:.1f} MB by Python"
        print(f"{text}  {len(jax.live_arrays())} arrays", flush=True)
        if tracemalloc.is_tracing() and hours > _HOURS.value / 4 and not self._before:
            self._before = tracemalloc.take_snapshot()

    def print(self) -> None:
        """Prints the slope of memory, the lag, and what grew."""
        hours, megabytes, lag_s = np.array(self.rows).T
        late = hours > hours[-1] / 4
        slope, error = slope_and_error(hours[late], megabytes[late])
        within = "within" if abs(slope) < 2 * error else "beyond"
        print(
            f"memory {megabytes[late].min():.1f} to {megabytes[late].max():.1f} MB "
            f"after the first quarter, slope {slope:+.3f} MB an hour of traffic, "
            f"{within} its noise of {2 * error:.3f} MB (two standard errors)"
        )
        means = [part.mean() for part in np.array_split(megabytes, _PARTS)]
        print(f"means of {_PARTS} parts: {', '.join(f'{x:.1f}' for x in means)} MB")
        lag_s = lag_s[2:]  # the first verdicts compile their programs
        if len(lag_s):
            print(
                f"lag {lag_s.max():.2f} s at most after the start, in 99 % of seconds "
                f"below {np.quantile(lag_s, 0.99):.2f} s"
            )
        if self._before:
            after = tracemalloc.take_snapshot()
            for line in after.compare_to(self._before, "lineno")[:20]:
                print(line)


def write_packets(batches: Iterator[sources.Batch]) -> None:
    """Writes packets to standard output as pcap, with times in ns."""
    head = struct.Struct("<IIII").pack
    with contextlib.suppress(BrokenPipeError):
        write = open(sys.stdout.fileno(), "wb", buffering=0).write
        write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1))
        for batch in batches:
            parts = []
            for time_ns, _, frame, length in batch.packets:
                seconds, rest_ns = divmod(time_ns, 10**9)
                parts += head(seconds, rest_ns, len(frame), length), frame
            write(b"".join(parts))


def main(argv: Sequence[str]) -> None:
    del argv
    paths = list(map(str, identify.list_captures([_CAPTURES.value], is_table=False)))
    seconds = _HOURS.value * 3600
    batches = paced(endless(paths, _TIMES.value), _SPEED.value, seconds)
    if _WRITE.value:
        write_packets(batches)
        return
    reference = references.open_reference(runs.open_run(_WORKDIR.value))
    watched = monitor.Monitor(reference, sources.Tally())
    made: collections.Counter[str] = collections.Counter()
    samples = Samples()
    if _TRACE.value:
        tracemalloc.start()
    start_s, busy_s = time.monotonic(), 0.0
    for batch in batches:
        before_s = time.thread_time()
        told = watched.add(batch)
        busy_s += time.thread_time() - before_s
        for record in told:
            state = getattr(record, "state", "")
            made[f"{record.kind} {state}".strip()] += 1
        samples.take(watched)
    beat = watched.heartbeat()
    took_s = time.monotonic() - start_s
    print(
        f"{beat.packets} packets in {took_s:.0f} s, {beat.packets / took_s:.0f} a "
        f"second, {beat.packets / busy_s:.0f} a second of one processor; "
        f"{seconds / 3600:g} h of traffic"
    )
    samples.print()
    print(", ".join(f"{count} {name}" for name, count in made.items()))


if __name__ == "__main__":
    app.run(main)

"""Makes hours of traffic from captures, and says how much of them is in alarm.

    python -m scripts.experiments.hours --workdir=runs/first --network=data/access

The calls of captures (packets of one Call-ID) are drawn again and again, each with a
Call-ID of its own, as a Poisson process whose rate changes in the hour. So load is
thinned and superposed by whole calls, and a fault is the calls of its stretch:

  steady, doubles, halves, day, grows, shrinks   load of a normal capture, see `LOADS`
  doubled, halved                                at once, after 20 minutes
  fault: NAME       normal for 5 minutes, then the fault to the end
  inside: NAME      the fault alone
  creeps: NAME      the share of the fault's calls grows from minute 5 to the end

The run is adapted to the first two normal captures (`--nouse_network`: it is not); the
loads are those of the third, the faults those of NAME_002.
"""

import collections
import csv
import pathlib
import re
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags

from siamjax import cli
from siamjax.capture import packets
from siamjax.identification import adapting, identify, references, sessions
from siamjax.identification.timeline import IN_DOUBT
from siamjax.inference import runs
from siamjax.types import NORMAL

COMMAND = cli.Command("python -m scripts.experiments.hours", __doc__)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/first", "An evaluated run.", COMMAND.flags
)
_NETWORK = flags.DEFINE_string(
    "network", "data/access", "Captures and labels.csv.", COMMAND.flags
)
_USE = flags.DEFINE_bool(
    "use_network", True, "Adapts the run to the network.", COMMAND.flags
)
_FAULTS = flags.DEFINE_list(
    "faults",
    ["busy_reject", "packet_loss", "callee_down"],
    "Conditions.",
    flag_values=COMMAND.flags,
)
HOUR_S, NORMAL_S = 3600.0, 300.0
# Where a call begins is searched, so that retransmissions of older calls are left out.
_CALL_ID = re.compile(rb"\n(?:Call-ID|i): ([^\r\n@]*)")
_BEGINS = re.compile(rb"(?:INVITE|REGISTER|OPTIONS|SUBSCRIBE) sip")
_SIGNS = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# A magic number of pcap with nanoseconds, its version, snap length, link type Ethernet.
_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
_BEGIN_NS = 1_700_000_000 * 10**9

Rate = Callable[[np.ndarray], np.ndarray]  # seconds -> relative rate
LOADS: dict[str, Rate] = {
    "steady": lambda t: 1 + 0 * t,
    "doubles": lambda t: 1 + t / HOUR_S,
    "halves": lambda t: 1 - t / HOUR_S / 2,
    "doubled": lambda t: np.where(t < HOUR_S / 3, 1.0, 2.0),
    "halved": lambda t: np.where(t < HOUR_S / 3, 1.0, 0.5),
    "day": lambda t: np.exp2(np.sin(2 * np.pi * t / HOUR_S)),
    "grows": lambda t: 0.25 + t / HOUR_S,
    "shrinks": lambda t: 1.25 - t / HOUR_S,
}


class Message(NamedTuple):
    """A packet of a call."""

    offset_ns: int  # after the call's first packet
    frame: bytes
    name: slice  # of the Call-ID in it
    length: int


class Calls(NamedTuple):
    """The calls that begin in a stretch of a capture."""

    calls: list[list[Message]]
    per_s: float


def read_calls(path: pathlib.Path, first_s: float, end_s: float) -> Calls:
    """The calls of a capture that begin between two times."""
    begun: dict[bytes, tuple[int, list[Message]]] = {}
    zero_ns = None
    for time_ns, _, frame, length in packets.read_packets(path, collections.Counter()):
        zero_ns = time_ns if zero_ns is None else zero_ns
        match = _CALL_ID.search(frame)
        if match is None:
            continue
        if match[1] not in begun:
            if not _BEGINS.search(frame[:120]):
                continue
            begun[match[1]] = time_ns, []
        begin_ns, call = begun[match[1]]
        call.append(Message(time_ns - begin_ns, frame, slice(*match.span(1)), length))
    chosen = [
        call
        for begin_ns, call in begun.values()
        if first_s * 1e9 <= begin_ns - (zero_ns or 0) < end_s * 1e9
    ]
    return Calls(chosen, len(chosen) / (end_s - first_s))


def draw_packets(
    parts: Sequence[tuple[Calls, Rate]], rng: np.random.Generator
) -> list[tuple[int, bytes, int]]:
    """An hour of packets `(time_ns, frame, length)`, in order of time.

    Args:
      parts: calls, and their rate relative to that of their capture.
      rng: draws when a call begins, and which.
    """
    drawn, number = [], 0
    for calls, rate in parts:
        most = float(rate(np.arange(HOUR_S)).max())
        begin_s = rng.uniform(0, HOUR_S, rng.poisson(most * calls.per_s * HOUR_S))
        begin_s = begin_s[rng.uniform(size=len(begin_s)) * most < rate(begin_s)]
        for second, i in zip(
            begin_s, rng.integers(len(calls.calls), size=len(begin_s))
        ):
            number += 1
            for offset_ns, frame, name, length in calls.calls[i]:
                time_ns = int(second * 1e9) + offset_ns
                if time_ns < HOUR_S * 1e9:
                    called = name_call(number, name.stop - name.start)
                    renamed = frame[: name.start] + called + frame[name.stop :]
                    drawn.append((time_ns, renamed, length))
    return sorted(drawn, key=lambda packet: packet[0])


def name_call(number: int, width: int) -> bytes:
    """A Call-ID of so many characters, another one for each number."""
    signs = bytearray()
    while number:
        number, sign = divmod(number, len(_SIGNS))
        signs.append(_SIGNS[sign])
    return bytes(signs[::-1]).rjust(width, b"0")[-width:]


def write_capture(path: pathlib.Path, drawn: list[tuple[int, bytes, int]]) -> None:
    """Writes packets as a pcap."""
    with open(path, "wb") as file:
        file.write(_HEADER)
        for time_ns, frame, length in drawn:
            second, rest = divmod(_BEGIN_NS + time_ns, 10**9)
            file.write(struct.pack("<IIII", second, rest, len(frame), length) + frame)


def list_hours(
    folder: pathlib.Path, faults: Sequence[str]
) -> Iterator[tuple[str, list[tuple[Calls, Rate]]]]:
    """The name of each hour and what it is drawn from."""
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        rows = {row["file"].split(".")[0]: row for row in csv.DictReader(file)}
    captures = folder / "captures"
    normal = read_calls(captures / "normal_003.pcap.xz", 0, 60)
    yield from ((name, [(normal, rate)]) for name, rate in LOADS.items())

    def share(t):
        return np.clip((t - NORMAL_S) / (HOUR_S - NORMAL_S), 0, 1)

    for fault in faults:
        row = rows[f"{fault}_002"]
        path, onset_s = captures / f"{fault}_002.pcap.xz", float(row["onset_s"])
        end_s = min(float(row["clear_s"] or "inf"), 70.0) - 5
        before = read_calls(path, 0, onset_s - 6)
        calls = read_calls(path, onset_s + 1, end_s)
        later = [
            (before, lambda t: 1.0 * (t < NORMAL_S)),
            (calls, lambda t: 1.0 * (t >= NORMAL_S)),
        ]
        yield f"fault: {fault}", later
        yield f"inside: {fault}", [(calls, LOADS["steady"])]
        yield f"creeps: {fault}", [(before, lambda t: 1 - share(t)), (calls, share)]


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    reference = references.open_reference(runs.open_run(_WORKDIR.value))
    folder = pathlib.Path(_NETWORK.value)
    if _USE.value:
        learnt = [folder / "captures" / f"normal_00{i}.pcap.xz" for i in (1, 2)]
        kept = adapting.read_network(reference.run, folder.name, learnt)
        adapted = adapting.adapt(reference.run, kept)
        reference = reference._replace(network=adapted)
    for name, parts in list_hours(folder, _FAULTS.value):
        with tempfile.TemporaryDirectory() as made:
            path = pathlib.Path(made) / "hour.pcap"
            write_capture(path, draw_packets(parts, np.random.default_rng(0)))
            traffic = sessions.read_traffic(
                path, reference.run, network=reference.network
            )
        spans = identify.compare_session(traffic, reference).spans
        lasts: collections.Counter[str] = collections.Counter()
        for span in spans:
            lasts[span.condition] += (span.end_s - span.start_s) / spans[-1].end_s
        alarms = [s.start_s for s in spans if s.condition not in (NORMAL, IN_DOUBT)]
        first = f"{alarms[0] / 60:.1f} min" if alarms else "never"
        shares = ", ".join(
            f"{x} {100 * part:.0f} %" for x, part in lasts.most_common(3)
        )
        print(f"{name:24} first alarm {first:10} {shares}", flush=True)


if __name__ == "__main__":
    COMMAND.run(main)

"""Count the SIP messages of the captures before, during and after the fault.

    python summarize.py labels.csv captures > tables.md

Prints two Markdown tables: per condition, the mean messages per second of each
kind in each phase; per capture, its packets. Needs dpkt.

200reg   answers 200 to REGISTER (the column 200 has the others)
retrans  repeated requests (same method, Call-ID and CSeq), without ACK
silent   percentage of seconds without a SIP message
ring     median milliseconds from INVITE to 180, of calls with a 180
"""

import argparse
import csv
import lzma
import re
import statistics
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path

import dpkt

COLUMNS = (
    "INVITE ACK BYE REGISTER 100 180 200 200reg 401 404 408 486 503 other "
    "retrans silent"
).split()
FIRST_LINE = re.compile(rb"(?:SIP/2\.0 (\d{3})|([A-Z]+) )")
CALL_ID = re.compile(rb"\r\nCall-ID: ([^\r\n]+)")
CSEQ = re.compile(rb"\r\nCSeq: (\d+) ([A-Z]+)")


def sip_messages(pcap):
    """(epoch time, kind, Call-ID, CSeq number) of each SIP message.

    The kind is the method or the status. Call-ID and CSeq are None where they were cut.
    """
    with lzma.open(pcap) as file:
        for time, frame in dpkt.pcap.Reader(file):
            packet = dpkt.ethernet.Ethernet(frame).data
            if not (
                isinstance(packet, dpkt.ip.IP) and isinstance(packet.data, dpkt.udp.UDP)
            ):
                continue
            payload = bytes(packet.data.data)
            first = FIRST_LINE.match(payload)
            if first:
                call, cseq = CALL_ID.search(payload), CSEQ.search(payload)
                kind = (first[1] or first[2]).decode()
                if kind == "200" and cseq and cseq[2] == b"REGISTER":
                    kind = "200reg"
                yield time, kind, call and call[1], cseq and cseq[1]


def phase_of(seconds, onset, clear):
    if onset is None or seconds < onset:
        return "before"
    return "during" if clear is None or seconds < clear else "after"


def measure(pcap, start, onset, clear, duration):
    """Messages per second by phase and kind, ring times by phase, packets."""
    counts, rings = defaultdict(Counter), defaultdict(list)
    seen, invited, packets, busy_seconds = set(), {}, 0, set()
    for time, kind, call, cseq in sip_messages(pcap):
        packets += 1
        phase = phase_of(time - start, onset, clear)
        busy_seconds.add(int(time - start))
        counts[phase][kind if kind in COLUMNS else "other"] += 1
        if kind.isalpha() and kind != "ACK":
            counts[phase]["retrans"] += (kind, call, cseq) in seen
            seen.add((kind, call, cseq))
        if kind == "INVITE":
            invited.setdefault(call, time)
        elif kind == "180" and call in invited:
            rings[phase].append(1000 * (time - invited.pop(call)))
    for second in set(range(int(duration))) - busy_seconds:
        counts[phase_of(second, onset, clear)]["silent"] += 100
    edges = {
        "before": (0, onset or duration),
        "during": (onset, clear or duration),
        "after": (clear, duration),
    }
    rates = {
        phase: {
            column: counts[phase][column] / (edges[phase][1] - edges[phase][0])
            for column in COLUMNS
        }
        for phase in counts
    }
    return rates, rings, packets


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("captures", type=Path)
    parser.add_argument("--duration", type=float, default=100.0)
    options = parser.parse_args()

    rates, rings, packets = defaultdict(list), defaultdict(list), defaultdict(dict)
    with open(options.labels, newline="") as file:
        for label in csv.DictReader(file):
            start = float(re.search(r"start_epoch=([\d.]+)", label["notes"])[1])
            onset, clear = (
                float(label[key]) if label[key] else None
                for key in ("onset_s", "clear_s")
            )
            by_phase, ring, count = measure(
                options.captures / label["file"], start, onset, clear, options.duration
            )
            packets[label["condition"]][int(label["seed"])] = count
            for phase in by_phase:
                rates[label["condition"], phase].append(by_phase[phase])
                rings[label["condition"], phase] += ring[phase]

    print("| condition | phase | captures |", " | ".join(COLUMNS), "| ring |")
    print("|---|---|" + "--:|" * (len(COLUMNS) + 2))
    for condition, phase in product(packets, ("before", "during", "after")):
        captures = rates[condition, phase]
        if not captures:
            continue
        means = (
            statistics.mean(capture[column] for capture in captures)
            for column in COLUMNS
        )
        ring = rings[condition, phase]
        print(
            f"| {condition} | {phase} | {len(captures)} |",
            " | ".join(f"{mean:.1f}" for mean in means),
            f"| {statistics.median(ring):.0f} |" if ring else "| - |",
        )

    print("\n| condition | captures | SIP packets | of each capture, by seed |")
    print("|---|--:|--:|---|")
    for condition, counts in packets.items():
        listed = " ".join(str(counts[seed]) for seed in sorted(counts))
        print(f"| {condition} | {len(counts)} | {sum(counts.values())} | {listed} |")


if __name__ == "__main__":
    main()

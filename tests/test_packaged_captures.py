"""The packaged captures hold what tshark and a slow reading find."""

import lzma
from collections import Counter

import dpkt
import numpy as np
import pytest

from siamjax.capture import cleaning, events
from tests.sip_captures import CAPTURES

# xz -dc NAME.pcap.xz | tshark -n -r - -Y "sip && !icmp" -T fields -e sip.Method
#   -e sip.Status-Code | sort | uniq -c
# of tshark 4.0.17, which reads no header of a message that the snap length cut.
TSHARK = {
    "normal_013": {
        "ACK": 687,
        "BYE": 681,
        "INVITE": 691,
        "REGISTER": 470,
        100: 691,
        180: 690,
        200: 1603,
        401: 235,
    },
    "blocked_005": {
        "ACK": 486,
        "BYE": 541,
        "INVITE": 1579,
        "REGISTER": 1154,
        100: 485,
        180: 485,
        200: 1229,
        401: 257,
    },
    "invite_flood_001": {
        "ACK": 1511,
        "BYE": 1479,
        "INVITE": 3340,
        "REGISTER": 366,
        100: 1506,
        180: 1507,
        200: 3172,
        401: 183,
        404: 7152,
    },
}


@pytest.mark.parametrize("name", TSHARK)
def test_packaged_captures_hold_the_messages_that_tshark_finds(name):
    got, kinds, report = events.read_events(CAPTURES / f"{name}.pcap.xz")
    counts = Counter()
    for kind, count in zip(kinds, np.bincount(got.kind)):
        method, _, status = kind.removeprefix("sip:").partition("/")
        counts[int(status) if status else method] += int(count)
    counts.pop("icmp", None)
    assert counts == TSHARK[name]
    assert report.messages == sum(TSHARK[name].values())
    assert report.server == cleaning.FOUND and report.gaps == []


@pytest.mark.parametrize("name", ["delay_003", "packet_loss_003"])
def test_packaged_captures_against_a_slow_reading(name):
    """dpkt decodes the layers and plain dictionaries match the messages."""
    path = CAPTURES / f"{name}.pcap.xz"
    got, kinds, _ = events.read_events(path)
    first_ns, rows, asked, seen = None, [], {}, set()
    with lzma.open(path) as file:
        for time, frame in dpkt.pcap.Reader(file):
            time_ns = round(time * 1e6) * 1000
            first_ns = time_ns if first_ns is None else first_ns
            ip = dpkt.ethernet.Ethernet(frame).data
            if not isinstance(ip, dpkt.ip.IP) or not isinstance(ip.data, dpkt.udp.UDP):
                continue
            first, *lines = bytes(ip.data.data).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[:-1] if ": " in line)
            number, method = headers["CSeq"].split()
            branch = headers["Via"].split("branch=")[1]
            transaction = headers["Call-ID"], number, method, branch
            if method == "ACK":
                transaction = transaction[:3]
            word = first.split(" ")
            answer = word[0] == "SIP/2.0"
            kind = f"sip:{method}/{word[1]}" if answer else f"sip:{word[0]}"
            again = (transaction, kind, ip.src) in seen
            seen.add((transaction, kind, ip.src))
            latency = -1
            if not answer:
                asked.setdefault(transaction, time_ns)
            elif not again and transaction in asked:
                latency = time_ns - asked[transaction]
            down = ip.src == b"\x0a\1\0\1"
            rows.append((time_ns - first_ns, int(down), kind, again, latency))
    assert len(rows) == len(got.time_ns) > 4000
    for row, *columns in zip(sorted(rows, key=lambda row: row[0]), *got[:5]):
        columns[2] = kinds[columns[2]]
        assert row == tuple(columns)

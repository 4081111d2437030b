"""From a capture to events: siamjax against tshark -T fields, in alternating processes.

The capture has whole messages of calls and registrations, because tshark reads no
header of a message that a snap length cut. tshark prints the fields that events are
made of, without decoding SDP, which is its fastest way. Over TCP, each message is
acknowledged, and a call begins with one that is split. tshark does not match answers to
requests; siamjax does. Both count the messages of each kind, and the counts must agree.
The time is the processor time of the whole process with its start. Both use one core.

  apt-get install tshark
  python -m scripts.benchmarks.ingest [--captures FILE ...]
"""

import argparse
import collections
import json
import os
import pathlib
import platform
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile

FIELDS = """frame.time_epoch ip.src ip.dst sip.Method sip.Status-Code sip.CSeq.method
    sip.CSeq.seq sip.Call-ID sip.Via.branch""".split()
TSHARK = "tshark -n --disable-protocol sdp -T fields -E occurrence=f".split()
SIAMJAX = """
import collections, json, sys
import numpy as np
from siamjax.capture import events
rows, kinds, report = events.read_events(sys.argv[1], protocols=["sip"])
counts = np.bincount(rows.kind, minlength=len(kinds)).tolist()
print(json.dumps([report.packets, dict(zip(kinds, counts))]))
"""
SEGMENT = 600  # bytes; a message with a media description is longer
CLIENT, SERVER = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captures", nargs="*", help="by default one is made")
    parser.add_argument("--calls", type=int, default=32000, help="in one that is made")
    parser.add_argument("--rounds", type=int, default=5, help="processes per program")
    options = parser.parse_args()
    if not shutil.which("tshark"):
        sys.exit("tshark is not installed: apt-get install tshark")
    with tempfile.TemporaryDirectory() as folder:
        captures = options.captures or [
            make(f"{folder}/{name}.pcap", options.calls, records)
            for name, records in (("udp", over_udp), ("tcp", over_tcp))
        ]
        rows = [row for path in captures for row in measure(path, options.rounds)]
    version = subprocess.check_output(["tshark", "--version"], text=True).split(" (Git")
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {version[0]}")
    print("| capture | packets | MB | program | packets/s | MB/s | times tshark |")
    print("|---|--:|--:|---|--:|--:|--:|")
    print(*rows, sep="\n")


def measure(capture, rounds):
    """Rows of the table for one capture; ends the program where the counts differ."""
    seconds, counts = collections.defaultdict(list), {}
    for _ in range(rounds):
        for name, read in (("siamjax", read_siamjax), ("tshark", read_tshark)):
            begin = children_s()
            packets, counts[name] = read(capture)
            seconds[name].append(children_s() - begin)
    if counts["siamjax"] != counts["tshark"]:
        sys.exit(f"{capture}: {counts['siamjax']} is not {counts['tshark']}")
    size_mb = os.path.getsize(capture) / 1e6
    slow = statistics.median(seconds["tshark"])
    for name, times in seconds.items():
        median = statistics.median(times)
        speed = f"{packets / median:,.0f} | {size_mb / median:.1f}"
        file = pathlib.Path(capture).name
        sizes = f"{packets} | {size_mb:.1f}"
        yield f"| {file} | {sizes} | {name} | {speed} | {slow / median:.1f} |"


def children_s():
    """Processor time of all child processes so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read_siamjax(capture):
    done = subprocess.run(
        [sys.executable, "-c", SIAMJAX, capture], check=True, capture_output=True
    )
    packets, counts = json.loads(done.stdout)
    messages = {k.removeprefix("sip:"): n for k, n in counts.items() if ":" in k}
    return packets, messages


def read_tshark(capture):
    fields = [part for field in FIELDS for part in ("-e", field)]
    done = subprocess.run(
        [*TSHARK, *fields, "-r", capture], check=True, capture_output=True, text=True
    )
    counts, lines = collections.Counter(), done.stdout.splitlines()
    for line in lines:
        _, _, _, method, status, method_of_cseq, *_ = line.split("\t")
        if status or method:
            counts[f"{method_of_cseq}/{status}" if status else method] += 1
    return len(lines), dict(counts)


def make(path, calls, in_packets):
    """A capture of calls with media descriptions, and registrations."""
    records = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)]
    time_us = 1_700_000_000_000_000
    messages = (row for call in range(calls) for row in dialog(call))
    for body, protocol, up in in_packets(messages):
        time_us += 137
        frame = ethernet(body, protocol, up, ident=len(records) % 65536)
        head = (time_us // 10**6, time_us % 10**6, len(frame), len(frame))
        records.append(struct.pack("<IIII", *head) + frame)
    pathlib.Path(path).write_bytes(b"".join(records))
    return path


def over_udp(messages):
    """`(what IP carries, protocol, to the server)` of `(message, to the server)`."""
    for message, up in messages:
        yield struct.pack("!HHHH", 5060, 5060, 8 + len(message), 0) + message, 17, up


def over_tcp(messages):
    """The same in segments of one connection, with acknowledgements."""
    place = {True: 1, False: 1}
    for message, up in messages:
        while message:
            data, message = message[:SEGMENT], message[SEGMENT:]
            yield segment(place[up], place[not up], up) + data, 6, up
            place[up] = (place[up] + len(data)) % 2**32
        yield segment(place[not up], place[up], not up), 6, not up


def segment(sequence, acknowledged, up):
    ports = (40000, 5060) if up else (5060, 40000)
    flags, window = 0x10, 65535
    numbers = *ports, sequence, acknowledged, 0x50, flags, window, 0, 0
    return struct.pack("!HHIIBBHHH", *numbers)


def ethernet(body, protocol, up, ident):
    ends = (CLIENT, SERVER) if up else (SERVER, CLIENT)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), ident, 0, 64, protocol, 0)
    return b"\2" * 12 + b"\x08\0" + head + b"".join(ends) + body


def dialog(call):
    """`(message, to the server)` of a call; every fourth caller registers too."""
    invite, ended = f"INVITE sip:bob{call % 50}@example.org SIP/2.0", call % 10 == 0
    yield text(invite, call, "1 INVITE", media=True), True
    yield text("SIP/2.0 100 Trying", call, "1 INVITE"), False
    if ended:
        yield text("SIP/2.0 486 Busy Here", call, "1 INVITE"), False
        yield text(invite.replace("INVITE", "ACK"), call, "1 ACK"), True
    else:
        yield text("SIP/2.0 180 Ringing", call, "1 INVITE"), False
        yield text("SIP/2.0 200 OK", call, "1 INVITE", media=True), False
        yield text(invite.replace("INVITE", "ACK"), call, "1 ACK"), True
        yield text(invite.replace("INVITE", "BYE"), call, "2 BYE"), True
        yield text("SIP/2.0 200 OK", call, "2 BYE"), False
    if call % 4 == 0:
        register = "REGISTER sip:example.org SIP/2.0"
        for number, status in ((1, "401 Unauthorized"), (2, "200 OK")):
            name = f"r{call}"
            yield text(register, name, f"{number} REGISTER"), True
            yield text(f"SIP/2.0 {status}", name, f"{number} REGISTER"), False


def text(first, call, cseq, media=False):
    number, method = cseq.split()
    lines = [
        first,
        f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-{call}-{number}{method};rport",
        "Max-Forwards: 70",
        f'From: "Alice" <sip:alice@example.org>;tag=a{call}',
        f"To: <sip:bob@example.org>;tag=b{call}",
        f"Call-ID: {call}-1f2e3d4c5b6a@192.0.2.1",
        f"CSeq: {cseq}",
        "Contact: <sip:alice@192.0.2.1:5060;transport=udp>",
        "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK",
        "User-Agent: a load generator",
        "Supported: timer, replaces, 100rel",
    ]
    port = 10000 + call % 20000 * 2 if media else 0
    body = [
        "v=0",
        "o=- 53655765 2353687637 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        f"m=audio {port} RTP/AVP 0 8 101",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=sendrecv",
        "",
    ]
    body = "\r\n".join(body) if media else ""
    lines += ["Content-Type: application/sdp"] * media
    lines += [f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


if __name__ == "__main__":
    main()

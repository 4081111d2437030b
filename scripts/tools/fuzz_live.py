"""Gives the monitor damaged input from each of its live sources, for a given time.

python -m scripts.tools.fuzz_live --workdir runs/first --seconds 600 [--seed 0]
  [--sources stream,hep_udp,hep_tcp,follow]

Captures and payloads of HEP are mutated as by `scripts.tools.fuzz`, and files are cut,
replaced and removed while they are followed. One monitor gets what several cases send.
A finding is an exception other than SiamjaxError, a packet that did not arrive, or a
packet that is in no group of `cleaning.ACCOUNT`, or in two. Its traceback is printed,
and the exit code is 1. A seed gives the same mutations again.
"""

import argparse
import contextlib
import functools
import itertools
import lzma
import os
import pathlib
import random
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator

from scripts.tools import chaos
from scripts.tools.fuzz import SEED_BYTES, mutated
from siamjax.capture import cleaning, layers, messages, packets
from siamjax.identification import references
from siamjax.inference import runs
from siamjax.monitoring import following, listening, monitor, sources
from siamjax.types import SiamjaxError

# So many cases are given to one monitor.
_CASES = 20
# How long a packet that was sent may be under way.
_PATIENCE_S = 20.0
LIMIT_S = 60  # of a case
_LOOPBACK = "127.0.0.1"

# A case gives mutated input to a source, passes on its batches, and returns how many
# packets it sent; None: not known.
Case = Callable[[random.Random, pathlib.Path, sources.Tally, Callable], int | None]


class Lost(Exception):
    """Packets are missing, or in no group, or they are waited for in vain."""


def _too_slow(*_):
    raise Lost(f"more than {LIMIT_S} s")


def main() -> None:
    options = _options()
    for module in (following, listening):
        module._LOOK_S = 0.01  # so that there is time for more cases
    sources.IDLE_S = 0.01
    reference = references.open_reference(runs.open_run(options.workdir))
    names = options.sources.split(",") if options.sources else list(CASES)
    print("| source | cases | refused | packets | hold messages | findings |")
    print("|---|--:|--:|--:|--:|--:|")
    findings = 0
    for name in names:
        tally = fuzz_source(
            reference, name, options.seed, seconds=options.seconds / len(names)
        )
        findings += tally["findings"]
        print("| " + " | ".join(map(str, [name, *tally.values()])) + " |", flush=True)
    sys.exit(findings > 0)


def fuzz_source(
    reference: references.Reference,
    name: str,
    seed: int,
    *,
    seconds: float = float("inf"),
    cases: float = float("inf"),
) -> dict[str, int]:
    """Tries mutations of one source: how many, and what became of them.

    Args:
      reference: of the monitor.
      name: of the source, in `CASES`.
      seed: of the mutations.
      seconds, cases: the end.
    """
    tally = dict(cases=0, refused=0, packets=0, read=0, findings=0)
    end_s = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz.") as folder:
        while time.monotonic() < end_s and tally["cases"] < cases:
            watched = monitor.Monitor(reference, sources.Tally(), silent_s=1.0)
            sent: int | None = 0
            for _ in range(_CASES):
                draw = random.Random(f"{seed} {name} {tally['cases']}")
                place = pathlib.Path(folder, str(tally["cases"]))
                place.mkdir()
                tally["cases"] += 1
                signal.signal(signal.SIGALRM, _too_slow)
                signal.alarm(LIMIT_S)
                try:
                    count = CASES[name](draw, place, watched.tally, watched.add)
                    sent = None if None in (sent, count) else sent + count
                except SiamjaxError:
                    tally["refused"] += 1
                    sent = None
                except Exception:
                    tally["findings"] += 1
                    print(f"{name} {tally['cases'] - 1}: {traceback.format_exc()}")
                    sent = None
                finally:
                    signal.alarm(0)
            try:
                account = check_account(watched, sent)
                tally["packets"] += sum(account.values())
                tally["read"] += account.get("hold messages", 0)
            except Exception:
                tally["findings"] += 1
                print(f"{name} to {tally['cases'] - 1}: {traceback.format_exc()}")
    return tally


def check_account(watched: monitor.Monitor, sent: int | None) -> dict[str, int]:
    """The groups of all packets of a monitor, which ends.

    Args:
      watched: the monitor.
      sent: packets that were sent to it; None: not known.
    Raises:
      Lost: a packet did not arrive, or is in no group, or in two.
    """
    watched.finish()
    beat, counts = watched.heartbeat(), watched.counts()
    account = cleaning.account_for(
        counts, counts[messages.CARRIES_SIP], counts[layers.ICMP_ERROR]
    )
    if sum(account.values()) != beat.packets or min(counts.values(), default=0) < 0:
        raise Lost(f"{beat.packets} packets, but {account}, {counts}")
    if sent is not None and beat.packets + beat.dropped + beat.shed != sent:
        raise Lost(f"{sent} packets were sent, {beat}")
    return account


def damaged_stream(draw, folder, tally, take):
    """A capture that is cut and mutated, on standard input, in pieces."""
    seeds = _captures()
    data = mutated(draw.choice(seeds), seeds, draw)
    if draw.random() < 0.1:  # its head
        data = mutated(data[:64], seeds, draw)[:200] + data[64:]
    reader, writer = os.pipe()

    def write():
        with contextlib.suppress(BrokenPipeError), open(writer, "wb", 0) as file:
            for piece in _pieces(data, draw):
                file.write(piece)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with open(reader, "rb", 0) as file:
            for batch in sources.stream(file, "standard input", tally):
                take(batch)
    finally:
        thread.join()
    return _count_packets(data)


def damaged_datagrams(draw, folder, tally, take):
    """Datagrams of HEP over a real socket, some of them mutated."""
    first = draw.randrange(len(_payloads()) - 50)
    payloads = [_maybe_mutated(p, draw) for p in _payloads()[first : first + 50]]
    payloads = [payload[:60_000] for payload in payloads]
    server = listening.HepServer(_LOOPBACK, 0)
    with contextlib.closing(server.packets(tally)) as batches:
        next(batches)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
            for payload in payloads:
                agent.sendto(payload, (_LOOPBACK, server.port))
        _take_until(batches, take, len(payloads))
    return len(payloads)


def damaged_connections(draw, folder, tally, take):
    """Two connections of HEP, mutated and cut; then a good one, which must be read."""
    server = listening.HepServer(_LOOPBACK, 0)
    good = [p for p in _payloads() if p.startswith(b"HEP3")]
    with contextlib.closing(server.packets(tally)) as batches:
        next(batches)
        for _ in range(2):
            data = b"".join(_maybe_mutated(p, draw) for p in draw.sample(good, 20))
            with (
                contextlib.suppress(ConnectionError),
                socket.create_connection((_LOOPBACK, server.port)) as agent,
            ):
                for piece in _pieces(data, draw):
                    agent.sendall(piece)
        with socket.create_connection((_LOOPBACK, server.port)) as agent:
            agent.sendall(good[0] + _LAST)
            _take_until(batches, take, 1, _LAST_TEXT)


def damaged_files(draw, folder, tally, take):
    """A folder whose files grow, and are mutated, cut, replaced and removed."""
    seeds = _captures()
    path = folder / "first.pcap"
    path.write_bytes(seeds[0][:1000])
    last = folder / "last.pcap"
    with contextlib.closing(following.follow(folder, tally)) as batches:
        for step in range(draw.randint(1, 6)):
            data = mutated(draw.choice(seeds), seeds, draw)
            what = draw.randrange(5)
            if what == 0:  # it grows
                with open(path, "ab") as file:
                    file.write(data)
            elif what == 1:  # it is cut
                os.truncate(path, draw.randrange(path.stat().st_size + 1))
            elif what == 2:  # it is begun again
                path.write_bytes(data)
            elif what == 3:  # it is replaced
                path.unlink()
                path.write_bytes(data)
            else:  # another one follows
                path = folder / f"{step}.pcap"
                path.write_bytes(data)
            for _ in range(draw.randrange(4)):
                take(next(batches))
        last.write_bytes(seeds[0][:24] + _last_record())
        later_s = time.time() + 10
        os.utime(last, (later_s, later_s))
        _take_until(batches, take, 1, _LAST_TEXT)


CASES: dict[str, Case] = dict(
    stream=damaged_stream,
    hep_udp=damaged_datagrams,
    hep_tcp=damaged_connections,
    follow=damaged_files,
)


def hep3(payload: bytes, time_ns: int, source: str, target: str) -> bytes:
    """What an agent of Homer sends: HEP 3 with a message of SIP over UDP.

    Args:
      payload: the message.
      time_ns: when it was captured.
      source, target: ADDRESS:PORT of IPv4.
    """
    (address, port), (to_address, to_port) = (x.split(":") for x in (source, target))
    seconds, rest_ns = divmod(time_ns, 10**9)
    chunks = {
        1: b"\2",  # IPv4
        2: b"\x11",  # UDP
        3: socket.inet_aton(address),
        4: socket.inet_aton(to_address),
        7: struct.pack("!H", int(port)),
        8: struct.pack("!H", int(to_port)),
        9: struct.pack("!I", seconds),
        10: struct.pack("!I", rest_ns // 1000),
        11: b"\1",  # SIP
        12: struct.pack("!I", 2001),  # the agent
        15: payload,
    }
    body = b"".join(
        struct.pack("!HHH", 0, kind, 6 + len(data)) + data
        for kind, data in chunks.items()
    )
    return b"HEP3" + struct.pack("!H", 6 + len(body)) + body


def hep2(payload: bytes, time_ns: int, source: str, target: str) -> bytes:
    """The same in HEP 2."""
    (address, port), (to_address, to_port) = (x.split(":") for x in (source, target))
    seconds, rest_ns = divmod(time_ns, 10**9)
    return (
        struct.pack("!BBBBHH", 2, 16, 2, 17, int(port), int(to_port))
        + socket.inet_aton(address)
        + socket.inet_aton(to_address)
        + struct.pack("<IIHH", seconds, rest_ns // 1000, 2001, 0)
        + payload
    )


def sip_messages(path: str | os.PathLike) -> Iterator[tuple[int, bytes, str, str]]:
    """Time in ns, message, source and target of each message of SIP over UDP in a
    capture; ADDRESS:PORT of IPv4."""
    for time_ns, link, frame, _ in packets.read_packets(path, Counter()):
        datagram = layers.decode_frame(link, frame)
        if datagram.what == layers.UDP and len(datagram.source) == 4:
            ports = struct.unpack("!HH", datagram.ports)
            ends = zip((datagram.source, datagram.target), ports)
            source, target = (f"{socket.inet_ntoa(a)}:{port}" for a, port in ends)
            yield time_ns, datagram.payload, source, target


def as_pcapng(capture: bytes) -> bytes:
    """A capture of pcap as pcapng."""

    def block(kind, body):
        body += bytes(-len(body) % 4)
        size = struct.pack("<I", 12 + len(body))
        return struct.pack("<I", kind) + size + body + size

    blocks = [block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))]
    blocks.append(block(1, struct.pack("<HHI", 1, 0, 1 << 18)))
    for time_ns, _, frame, length in packets.read_chunks(
        iter([capture]), Counter(), "x"
    ):
        time_us = time_ns // 1000
        head = (0, time_us >> 32, time_us & 0xFFFFFFFF, len(frame), length)
        blocks.append(block(6, struct.pack("<IIIII", *head) + frame))
    return b"".join(blocks)


_LAST_TEXT = b"OPTIONS sip:the-last-one SIP/2.0\r\n"
_LAST = hep3(_LAST_TEXT + b"\r\n", 10**18, "192.0.2.1:5060", "192.0.2.2:5060")


def _last_record():
    """A packet of pcap with the last message."""
    frame = listening.packet_of_hep(_LAST, "192.0.2.3")[2]
    frame = bytes(12) + b"\x08\0" + frame  # Ethernet
    return struct.pack("<IIII", 10**9, 0, len(frame), len(frame)) + frame


@functools.cache
def _captures():
    """Beginnings of packaged captures as pcap, and as pcapng."""
    captures = []
    for condition in ("normal", "blocked", "delay"):
        path = min(chaos.CAPTURES.glob(f"{condition}_*"))
        captures.append(lzma.decompress(path.read_bytes())[:SEED_BYTES])
    return captures + [as_pcapng(capture) for capture in captures]


@functools.cache
def _payloads():
    """Messages of a packaged capture in HEP 2 and 3 in turn."""
    path = min(chaos.CAPTURES.glob("blocked_*"))
    first = itertools.islice(sip_messages(path), 500)
    return [
        (hep2, hep3)[i % 2](message, time_ns, source, target)
        for i, (time_ns, message, source, target) in enumerate(first)
    ]


def _maybe_mutated(payload, draw):
    return payload if draw.random() < 0.5 else mutated(payload, _payloads(), draw)


def _pieces(data, draw):
    """Data in pieces of random lengths."""
    start = 0
    while start < len(data):
        size = draw.choice((1, 100, 5000, 1 << 20))
        yield data[start : start + size]
        start += size


def _count_packets(data):
    """The packets in a capture; None: it is none."""
    try:
        chunks = iter([data]) if data else iter([])
        return sum(1 for _ in packets.read_chunks(chunks, Counter(), "x"))
    except SiamjaxError:
        return None


def _take_until(batches, take, count, text=b""):
    """Takes batches until there were so many packets, with a text in the last."""
    end_s = time.monotonic() + _PATIENCE_S
    for batch in batches:
        take(batch)
        count -= sum(text in frame for _, _, frame, _ in batch.packets)
        if count <= 0:
            return
        if time.monotonic() > end_s:
            raise Lost(f"{count} packets did not arrive")


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, help="an evaluated run")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sources", default="", help="such as stream,follow")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()

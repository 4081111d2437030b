"""The memory of ingest on a long capture, which is made as a stream and never stored.

The capture has calls of SIP and the RTP of each, written as pcap into a named pipe
that ingest reads. It prints the peak memory of the process, per packet and per message.

  python -m scripts.benchmarks.stream --gigabytes 1
"""

import argparse
import itertools
import os
import pathlib
import resource
import struct
import subprocess
import sys
import tempfile
import threading
import time

CLIENT, SERVER = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
# A call of G.711: a packet of 160 bytes of speech each 20 ms in both directions.
SPEECH_S, PACKET_S = 30.0, 0.02
CALLS = 50  # at a time
_UDP = struct.Struct(">BBHHHBBH4s4sHHHH")
_HEAD = struct.Struct("<IIII")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        pipe, labels = folder / "stream.pcap", folder / "labels.csv"
        os.mkfifo(pipe)
        labels.write_text("file,condition,onset_s,clear_s\nstream.pcap,normal,,\n")
        writer = os.open(pipe, os.O_RDWR)  # so that ingest finds a writer
        before = time.monotonic()
        command = [sys.executable, "-m", "siamjax", "ingest", "--workers=1"]
        command += [f"--captures={pipe}", f"--labels={labels}", f"--out={folder}/out"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        counts = {}
        thread = threading.Thread(
            target=write, args=(writer, options.gigabytes * 1e9, counts)
        )
        thread.start()
        said, _ = child.communicate()
        thread.join()
        if child.returncode:
            sys.exit(child.returncode)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    packets, messages = counts["packets"], counts["messages"]
    print(said.splitlines()[1])
    print(
        f"{options.gigabytes:g} GB, {packets} packets, {messages} messages of SIP: "
        f"{peak / 1e6:.0f} MB at most, {time.monotonic() - before:.0f} s"
    )


def write(pipe, size, counts):
    """Writes a capture of at least `size` bytes into a pipe, and closes it."""
    counts.update(packets=0, messages=0)
    with open(pipe, "wb", buffering=1 << 20) as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 16, 101))
        written = 24
        for number in itertools.count():
            for frame_s, packet in calls(number * SPEECH_S, number):
                second, part = divmod(frame_s, 1)
                head = int(second), int(part * 1e6), len(packet), len(packet)
                written += file.write(_HEAD.pack(*head) + packet)
                counts["packets"] += 1
                counts["messages"] += len(packet) != 200
            if written > size:
                return


def calls(begin_s, number):
    """`(time, packet)` of `CALLS` calls that begin together, in order of time."""
    names = [f"{number}-{i}" for i in range(CALLS)]
    for i, name in enumerate(names):
        for j, message in enumerate(dialog(name, end=False)):
            yield begin_s + 1e-4 * (4 * i + j), message
    speech = [rtp(i, outwards) for i in range(CALLS) for outwards in (True, False)]
    for k in range(1, int(SPEECH_S / PACKET_S) - 2):
        for i, packet in enumerate(speech):
            # Each packet of speech has its own number, so that none is a copy.
            numbered = packet[:4] + struct.pack(">H", k) + packet[6:]
            yield begin_s + k * PACKET_S + 1e-5 * i, numbered
    for i, name in enumerate(names):
        for j, message in enumerate(dialog(name, end=True)):
            yield begin_s + SPEECH_S - 0.03 + 1e-4 * (2 * i + j), message


def dialog(name, *, end):
    """The packets that begin a call, or those that end it."""
    lines = ("BYE", 200) if end else ("INVITE", 180, 200, "ACK")
    method, number = ("BYE", 2) if end else ("INVITE", 1)
    for line in lines:
        asks = isinstance(line, str)
        first = f"{line} sip:b@example.org SIP/2.0" if asks else f"SIP/2.0 {line} OK"
        text = (
            f"{first}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-{name}-{number}\r\n"
            f"Call-ID: {name}\r\nCSeq: {number} {line if asks else method}\r\n\r\n"
        )
        yield udp(text.encode(), 5060, outwards=asks)


def rtp(port, outwards):
    """A packet of speech: 200 bytes of IP."""
    return udp(b"\x80\0" + bytes(170), 10000 + 2 * port, outwards=outwards)


def udp(payload, port, *, outwards):
    """An IP packet with a datagram of UDP."""
    ends = (CLIENT, SERVER) if outwards else (SERVER, CLIENT)
    size = 8 + len(payload)
    head = (0x45, 0, 20 + size, 0, 0, 64, 17, 0, *ends, port, port, size, 0)
    return _UDP.pack(*head) + payload


if __name__ == "__main__":
    main()

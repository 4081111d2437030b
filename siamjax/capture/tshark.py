"""tshark as a process: it gets packets and prints the fields of protocols.

It gets them as pcapng on its standard input and prints a line for each frame that has
a message of a protocol, or that shows a fault of the transport.
"""

import contextlib
import functools
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence

from siamjax.capture.clock import Packet
from siamjax.capture.protocols import table
from siamjax.capture.protocols.table import Protocol

# The memory of tshark grows by 0.3 to 1.9 kB with each packet, so a new one is started
# after this number. It first gets the last packets again: a message may begin in them.
MOST_PACKETS, OVERLAP = 100_000, 500
# A tshark that neither reads nor prints for this time hangs. After MOST_HANGS of them
# in one capture, no other is started.
PATIENCE_S, MOST_HANGS = 60.0, 3
TRANSPORTS = ("udp", "tcp", "sctp")
# In place of the number of a packet: it only makes tshark print a line.
_MARK = -1
_RAW_IP = 101  # a link type whose packets begin with the header of IP
_LOOK_S = 0.0005

_COMMON = (
    "frame.number frame.protocols ip.src ip.dst ipv6.src ipv6.dst "
    "udp.srcport udp.dstport tcp.srcport tcp.dstport sctp.srcport sctp.dstport "
    "icmp.type icmpv6.type tcp.flags.reset tcp.analysis.retransmission "
    "sctp.retransmission sctp.chunk_type"
).split()
# Frames that show a fault of the transport.
_FAULTS = (
    "icmp.type in {3,4,5,11,12}",
    "icmpv6.type in {1,2,3,4}",
    "tcp.flags.reset == 1",
    "tcp.analysis.retransmission",
    "sctp.retransmission",
    "sctp.chunk_type == 6",
)
# How tshark puts together what is in several packets.
OPTIONS = (
    "tcp.reassemble_out_of_order:TRUE",
    "tcp.desegment_tcp_streams:TRUE",
    "sctp.reassembly:TRUE",
    "ip.defragment:TRUE",
)

# Takes the cells of a line, and its packet.
TakeLine = Callable[[list[str], Packet], None]


def find_tshark() -> str | None:
    """The path of tshark; None: it is not installed."""
    return shutil.which("tshark")


@functools.cache
def tshark_version(program: str) -> str:
    """The version of tshark, such as `4.0.17`; empty: it does not say it."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    words = said.partition("\n")[0].split()
    return next((word.strip(".") for word in words if word[0].isdigit()), "")


def current_version() -> str | None:
    """The version of the tshark that is installed; None: it is not."""
    program = find_tshark()
    return program and tshark_version(program)


def fields_of(protocols: Sequence[Protocol]) -> list[str]:
    """All fields that tshark prints of a frame, in order."""
    of_tables = [field for p in protocols for field in (*p.markers, *p.fields)]
    return list(dict.fromkeys([*_COMMON, *of_tables]))


class Run:
    """One process of tshark.

    Attributes:
      failed: it ended with an error.
      hung: it was ended, because it hung.
      sent: packets that it got.
      answered: of those, how many up to the last one of which it printed a line.
    """

    def __init__(
        self,
        program: str,
        protocols: Sequence[Protocol],
        take_line: TakeLine,
        *,
        overlap: int = 0,
        decode_as: Sequence[str] = (),
        patience_s: float | None = None,
        own_session: bool = False,
    ):
        """Starts it.

        Args:
          program: its path.
          protocols: those whose fields it prints.
          take_line: is called with each line, in a thread of its own.
          overlap: of so many packets at the beginning the lines are not taken.
          decode_as: values of -d, such as `tcp.port==13868,diameter`.
          patience_s: it hangs if it neither reads nor prints for so long; by default
            `PATIENCE_S`.
          own_session: Ctrl-C does not reach it.
        """
        self.failed, self.decode_as = False, tuple(decode_as)
        self.sent = 0
        self.lately: deque[tuple] = deque(maxlen=OVERLAP)
        self.hung, self.answered = False, 0
        self._overlap, self._take_line = overlap, take_line
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        self._packets = array("q")
        self._links: dict[int, int] = {}
        self._error: Exception | None = None
        # An empty folder, not the settings of a user: a capture gives the same
        # everywhere.
        self._settings = tempfile.TemporaryDirectory(prefix="siamjax")
        self._process = subprocess.Popen(
            [program, *_arguments(protocols, decode_as)],
            bufsize=1 << 18,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=own_session,
            env={
                **os.environ,
                "WIRESHARK_CONFIG_DIR": self._settings.name,
                "LC_ALL": "C",
            },
        )
        assert self._process.stdin and self._process.stdout  # they are pipes
        self._input, self._output = self._process.stdin, self._process.stdout
        self._thread = threading.Thread(target=self._take_lines, daemon=True)
        self._thread.start()
        self._waits, self._moved_s = False, time.monotonic()
        self._done = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()
        self._write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))

    def send(
        self, packet: Packet, time_ns: int, link: int, frame: bytes, length: int
    ) -> None:
        """Gives it a packet, and the time that the capture has of it."""
        self._write_packet(packet, time_ns, link, frame, length)
        self.lately.append((packet, time_ns, link, frame, length))
        self.sent += 1

    def answer_all(self, time_ns: int) -> bool:
        """Waits until it has read all packets that it got; whether it has.

        It gets one more packet, of which it prints a line: an error of ICMP.

        Args:
          time_ns: of that packet.
        """
        self._write_packet((_MARK, time_ns), time_ns, _RAW_IP, _ICMP, len(_ICMP))
        last = len(self._packets) // 2
        with contextlib.suppress(BrokenPipeError):
            self._input.flush()
        self._waits = True
        while self.answered < last and self._thread.is_alive():
            if time.monotonic() - self._moved_s > self._patience_s:
                self.end()
                return False
            time.sleep(_LOOK_S)
        self._waits = False
        if self._error:
            raise self._error
        return self.answered >= last

    def end(self) -> None:
        """Ends it at once, as one that hangs."""
        self.hung = True
        self._process.kill()

    def _write_packet(self, packet, time_ns, link, frame, length):
        self._packets.extend(packet)
        if link not in self._links:
            self._links[link] = len(self._links)
            nanoseconds = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
            self._write(_block(1, struct.pack("<HHI", link, 0, 0) + nanoseconds))
        size = len(frame)
        padded = size + 3 & ~3
        head = _packet_head(
            *(6, 32 + padded, self._links[link], time_ns >> 32, time_ns & 0xFFFFFFFF),
            *(size, max(length, size)),
        )
        end = bytes(padded - size) + struct.pack("<I", 32 + padded)
        self._write(b"".join((head, frame, end)))

    def finish(self) -> None:
        """Waits until it has printed all. Raises what `take_line` raised."""
        self._waits, self._moved_s = True, time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        self._thread.join()
        self._done.set()
        self.failed = self._process.wait() != 0
        self._output.close()
        self._settings.cleanup()
        if self._error:
            raise self._error

    def unread(self) -> array:
        """The numbers of packets that it got and did not read, since it did not end."""
        if not (self.failed or self.hung):
            return array("q")
        numbers = self._packets[2 * max(self.answered, self._overlap) :: 2]
        return array("q", (number for number in numbers if number != _MARK))

    def _write(self, data):
        self._waits, self._moved_s = True, time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # it failed: `finish` says so
            self._input.write(data)
        self._waits = False

    def _watch(self):
        """Ends a process that neither reads nor prints."""
        while not self._done.wait(self._patience_s / 4):
            if self._waits and time.monotonic() - self._moved_s > self._patience_s:
                self.end()
                return

    def _take_lines(self):
        for line in self._output:
            if self._error:
                continue  # tshark must not wait until its lines are read
            try:
                cells = line.decode("utf-8", "replace").rstrip("\n").split("\t")
                place, self._moved_s = int(cells[0]) - 1, time.monotonic()
                self.answered = place + 1
                if place >= self._overlap:
                    number, time_ns = self._packets[2 * place : 2 * place + 2]
                    if number != _MARK:
                        self._take_line(cells, (number, time_ns))
            except Exception as error:
                self._error = error


def _arguments(protocols, decode_as):
    filters = [f"({protocol.filter})" for protocol in protocols]
    # It prints each line at once (-l), so that none is lost where it is ended.
    arguments = ["-n", "-l", "-r", "-", "-Y", " || ".join([*filters, *_FAULTS])]
    for option in OPTIONS:
        arguments += ["-o", option]
    for entry in decode_as:
        arguments += ["-d", entry]
    for print_as in ("occurrence=a", f"aggregator={table.SEPARATOR}", "separator=/t"):
        arguments += ["-E", print_as]
    for field in fields_of(protocols):
        arguments += ["-e", field]
    return [*arguments, "-T", "fields"]


def _make_icmp():
    """A packet that says that a port of this machine is closed."""
    ends = bytes((127, 0, 0, 1)) * 2
    udp = struct.pack("!HHHH", 9, 9, 8, 0)
    quoted = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, 17, 0) + ends + udp
    icmp = struct.pack("!BBHI", 3, 3, 0, 0) + quoted
    size = 20 + len(icmp)
    return struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, 1, 0) + ends + icmp


_ICMP = _make_icmp()
_packet_head = struct.Struct("<IIIIIII").pack


def _block(kind, body):
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size

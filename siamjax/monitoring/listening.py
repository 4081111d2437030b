"""Packets from a network: what agents of Homer send (HEP), and an interface."""

import contextlib
import fcntl
import re
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator

from siamjax.capture import framing, hep
from siamjax.monitoring import records, sources
from siamjax.monitoring.sources import Batch, Packet, Tally
from siamjax.types import UsageError

HEP_PORT = 9060
# A link type whose packets begin with the header of IP.
_RAW_IP = 101
_RECEIVE_BYTES, _BUFFER_BYTES = 1 << 16, 1 << 24
# Linux counts the datagrams that a full buffer lost, from `linux/socket.h`.
_SO_RXQ_OVFL = 40
_LOOK_S = 0.2
# How often tcpdump is asked for its counts.
_ASK_S = 1.0
# Waits before a program that captures is started again, in seconds.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
# Linux's question for the flags of an interface, and the flag that it is up.
_SIOCGIFFLAGS, _IFF_UP = 0x8913, 1
_ENDED, _DOWN = "ended", "down"
_DROPPED = re.compile(rb"(\d+) packets? dropped by kernel")


def parse_address(text: str, port: int) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `HOST` or `:PORT`; without host: all addresses.

    Raises:
      UsageError: it has another form.
    """
    host, colon, number = text.rpartition(":")
    if not colon:
        host, number = text, str(port)
    if not number.isdigit() or int(number) > 65535:
        raise UsageError(f"--hep={text}: write HOST:PORT, such as 0.0.0.0:{port}")
    return host or "0.0.0.0", int(number)


class HepServer:
    """Takes HEP over UDP and TCP at one address.

    Attributes:
      port: at which it listens.
    """

    def __init__(self, host: str, port: int) -> None:
        """Listens.

        Raises:
          UsageError: the address cannot be used.
        """
        try:
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._udp.bind((host, port))
            self.port = self._udp.getsockname()[1]
            self._tcp = socket.create_server((host, self.port))
        except (OSError, OverflowError) as error:
            raise UsageError(f"--hep={host}:{port} cannot be used: {error}") from None
        with contextlib.suppress(OSError):  # not Linux: nothing is counted
            self._udp.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)

    def packets(self, tally: Tally) -> Iterator[Batch]:
        """Yields the packets that agents send, without an end."""
        return sources.read_in_thread(lambda inbox: self._serve(inbox, tally))

    def _serve(self, inbox, tally):
        with selectors.DefaultSelector() as ready, self._udp, self._tcp:
            for sock in (self._udp, self._tcp):
                sock.setblocking(False)
                ready.register(sock, selectors.EVENT_READ)
            while not inbox.closed:
                arrived: list[Packet] = []
                for key, _ in ready.select(_LOOK_S):
                    if key.fileobj is self._udp:
                        arrived += self._datagrams(tally)
                    elif key.fileobj is self._tcp:
                        with contextlib.suppress(OSError):
                            connection, address = self._tcp.accept()
                            connection.setblocking(False)
                            agent = _Agent(connection, address[0])
                            ready.register(connection, selectors.EVENT_READ, agent)
                    else:
                        arrived += key.data.read(ready, tally)
                if arrived:
                    inbox.put(arrived)

    def _datagrams(self, tally):
        """The datagrams that are there."""
        arrived = []
        with contextlib.suppress(BlockingIOError):
            while len(arrived) < 1000:
                data, about, _, address = self._udp.recvmsg(_RECEIVE_BYTES, 64)
                for level, kind, value in about:
                    if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                        tally.dropped = struct.unpack("I", value)[0]
                arrived.append(packet_of_hep(data, address[0]))
        return arrived


class _Agent:
    """A connection of TCP on which an agent sends."""

    def __init__(self, connection, address):
        self._connection, self._address = connection, address
        self._parser = framing.Parser()

    def read(self, ready, tally):
        """The packets that came; a connection that ends is not watched any more."""
        try:
            data = self._connection.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        payloads = self._parser.feed(data)
        if not data or self._parser.carries in (framing.OTHER, framing.TLS):
            if data or self._parser.begun_bytes:
                tally.counts["damaged"] += 1
            ready.unregister(self._connection)
            self._connection.close()
        return [packet_of_hep(payload, self._address) for payload in payloads]


def packet_of_hep(payload: bytes, sender: str) -> Packet:
    """A payload of HEP as a packet: it has the time that the agent says, or now.

    Args:
      payload: of HEP, or anything else.
      sender: the address of the agent.
    """
    time_ns = hep.capture_time(payload)
    if time_ns is None or not 0 < time_ns < 1 << 62:
        time_ns = time.time_ns()
    # Lengths of 0: as long as the frame is.
    ip = struct.pack(
        "!BBHIBBH4s4s", 0x45, 0, 0, 0, 64, 17, 0, _packed(sender), bytes(4)
    )
    udp = struct.pack("!HHHH", HEP_PORT, HEP_PORT, 0, 0)
    frame = ip + udp + payload
    return time_ns, _RAW_IP, frame, len(frame)


def _packed(address):
    try:
        return socket.inet_aton(address)
    except OSError:
        return bytes(4)


def capture_interface(
    interface: str, expression: str, tally: Tally, program: str | None = None
) -> Iterator[Batch]:
    """Yields the packets of an interface, which tcpdump or dumpcap captures.

    If the program ends, it is started again, unless it never captured anything. That
    the interface went down is said also where the program goes on.

    Args:
      interface: such as `eth0` or `any`.
      expression: a filter of pcap, such as `udp port 5060`; empty: all packets.
      tally: receives what was lost.
      program: path of tcpdump or dumpcap; by default the one that is installed.
    Raises:
      UsageError: neither is installed, or it cannot capture the interface.
    """
    program = program or shutil.which("tcpdump") or shutil.which("dumpcap")
    if program is None:
        raise UsageError(
            "--interface needs tcpdump or dumpcap: install it, such as apt install "
            "tcpdump"
        )
    is_dumpcap = program.endswith("dumpcap")
    command = [program, "-i", interface, "-w", "-"]
    command += ["-P", "-q"] if is_dumpcap else ["-U", "-n"]
    if expression:
        command += ["-f", expression] if is_dumpcap else [expression]
    return _end_with_batches(command, interface, tally, is_dumpcap)


def _end_with_batches(command, interface, tally, is_dumpcap):
    """Yields the packets of a program, which does not live longer than that."""
    running: list[subprocess.Popen] = []
    batches = sources.read_in_thread(
        lambda inbox: _capture(command, interface, tally, inbox, is_dumpcap, running)
    )
    try:
        with contextlib.closing(batches):
            yield from batches
    finally:
        for process in running:
            process.terminate()


def _capture(command, interface, tally, inbox, is_dumpcap, running):
    wait_s, dropped, is_captured = _FIRST_WAIT_S, 0, False
    link = _Link(inbox)
    while not inbox.closed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the monitor alone
        )
        running[:] = [process]
        lines: list[bytes] = []
        said = threading.Thread(
            target=_listen, args=(process.stderr, lines, tally, dropped), daemon=True
        )
        said.start()
        began_s = time.monotonic()
        watcher = threading.Thread(
            target=_ask,
            args=(process, inbox, is_dumpcap, interface, link),
            daemon=True,
        )
        watcher.start()

        def chunks(process=process):
            nonlocal is_captured
            while data := process.stdout.read1(1 << 16):
                is_captured = True  # it writes a header before the first packet
                link.is_back(_ENDED, f"{interface} is captured again")
                yield data

        with contextlib.suppress(sources.SiamjaxError):  # it ended without a packet
            sources.put_packets(chunks(), interface, tally, inbox)
        process.wait()
        said.join()
        dropped = tally.dropped
        if inbox.closed:
            return
        reason = b" ".join(lines[-1:]).decode(errors="replace").strip()
        if not is_captured:
            raise UsageError(
                f"--interface={interface}: {reason}: give an interface that may be "
                "captured, and a --filter of pcap"
            )
        link.is_lost(_ENDED, f"the capture of {interface} ended: {reason}")
        if time.monotonic() - began_s > _LONGEST_WAIT_S:
            wait_s = _FIRST_WAIT_S
        inbox.wait(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


class _Link:
    """Says once that an interface is lost, and once that it is back."""

    def __init__(self, inbox):
        self._inbox, self._lock = inbox, threading.Lock()
        self._reason = None  # _ENDED or _DOWN; None: it is there

    def is_lost(self, reason, detail):
        with self._lock:
            if self._reason is None:
                self._inbox.notify(records.LOST, detail)
            if self._reason != _ENDED:
                self._reason = reason

    def is_back(self, reason, detail):
        """Ends what has this reason: a program may read packets of before."""
        with self._lock:
            if self._reason == reason:
                self._inbox.notify(records.BACK, detail)
                self._reason = None


def _is_up(interface):
    """Whether an interface is up; None: it is none, such as `any`."""
    request = struct.pack("16sH22x", interface.encode()[:15], 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            answer = fcntl.ioctl(asked, _SIOCGIFFLAGS, request)
    except OSError:  # or not Linux
        return None
    return bool(struct.unpack("16sH22x", answer)[1] & _IFF_UP)


def _listen(stderr, lines, tally, before):
    """Reads what the program says: its last line, and how many packets were lost."""
    for line in stderr:
        if not line.startswith(b"("):  # the reason of the system, again
            lines[:] = [line]
        if match := _DROPPED.search(line):
            tally.dropped = before + int(match[1])


def _ask(process, inbox, is_dumpcap, interface, link):
    """Asks tcpdump for its counts and whether the interface is up; ends the program
    with the monitor."""
    asked_s = time.monotonic()
    while process.poll() is None:
        if inbox.closed:
            process.terminate()
            return
        is_up = _is_up(interface)
        if is_up:
            link.is_back(_DOWN, f"{interface} is up again")
        elif is_up is not None:
            link.is_lost(_DOWN, f"{interface} is down")
        time.sleep(_LOOK_S)
        if not is_dumpcap and time.monotonic() >= asked_s + _ASK_S:
            asked_s = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGUSR1)

"""Where the monitor gets packets from: files that grow, agents, an interface."""

import contextlib
import itertools
import os
import pathlib
import socket
import struct
import threading
import time
import zlib

import pytest
from sipdoctor import hep as sipdoctor_hep

from scripts.tools import chaos, fuzz_live
from siamjax.capture import hep
from siamjax.monitoring import following, listening, records, sources
from siamjax.types import SiamjaxError, UsageError
from tests import live_traffic
from tests import packet_builder as build

S = 10**9
FRAMES = live_traffic.calls(0, 4)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    for module in (following, listening):
        monkeypatch.setattr(module, "_LOOK_S", 0.01)
    monkeypatch.setattr(sources, "IDLE_S", 0.01)
    monkeypatch.setattr(listening, "_FIRST_WAIT_S", 0.01)


def take(batches, count, notices=0, limit_s=20):
    """Packets of a source until there are so many, and what it said."""
    some, said, end_s = [], [], time.monotonic() + limit_s
    for batch in batches:
        some += batch.packets
        said += batch.notices
        if len(some) >= count and len(said) >= notices:
            return some, said
        assert time.monotonic() < end_s, (len(some), said)
    return some, said


def test_a_file_that_grows_is_read_as_it_grows(tmp_path):
    path, data = tmp_path / "x.pcap", build.pcap(FRAMES)
    path.write_bytes(data[:10])
    with contextlib.closing(following.follow(path, sources.Tally())) as batches:
        assert next(batches).packets == []
        with open(path, "ab") as file:
            for start in range(10, len(data), 300):
                file.write(data[start : start + 300])
                file.flush()
                next(batches)
        some, _ = take(batches, 0)
        assert len(some) <= len(FRAMES)
    # From a position in the middle.
    position = sources.Position(str(path), 20)
    with contextlib.closing(
        following.follow(path, sources.Tally(), position)
    ) as batches:
        some, _ = take(batches, len(FRAMES) - 20)
        assert [p[:1] + p[2:3] for p in some] == [tuple(f) for f in FRAMES[20:]]


def test_files_of_a_ring_buffer_are_read_one_after_the_other(tmp_path):
    parts = [FRAMES[:7], FRAMES[7:14], FRAMES[14:]]

    def write(number, frames, mtime_s):
        path = tmp_path / f"ring_{number}.pcap"
        path.write_bytes(build.pcap(frames))
        os.utime(path, (mtime_s, mtime_s))

    write(1, parts[0], 1000)
    with contextlib.closing(following.follow(tmp_path, sources.Tally())) as batches:
        some, _ = take(batches, 7)
        write(2, parts[1], 2000)
        some += take(batches, 7)[0]
        write(1, parts[2], 3000)  # the oldest is written again
        some += take(batches, 14)[0]
    assert [time_ns for time_ns, *_ in some] == [time_ns for time_ns, _ in FRAMES]


def test_a_file_that_is_begun_again_and_one_that_is_damaged(tmp_path):
    path = tmp_path / "x.pcap"
    path.write_bytes(build.pcap(FRAMES))
    with contextlib.closing(following.follow(path, sources.Tally())) as batches:
        take(batches, len(FRAMES))
        path.write_bytes(b"no capture at all, and this is long enough to see that")
        _, said = take(batches, 0, 1)
        assert said[0].what == records.LOST and "not a capture" in said[0].detail
        path.unlink()
        path.write_bytes(build.pcap(FRAMES[:3]))
        some, said = take(batches, 3, 1)
        assert len(some) == 3 and said[0].what == records.BACK
    with pytest.raises(UsageError, match="there is no such file"):
        following.follow(tmp_path / "none*", sources.Tally())


ENDS = "192.0.2.1:5060", "192.0.2.9:5061"
FORMS = [fuzz_live.hep2, fuzz_live.hep3]


def compressed(payload, time_ns, *ends):
    """HEP 3 with a message that is compressed."""
    frame = fuzz_live.hep3(zlib.compress(payload), time_ns, *ends)
    return frame.replace(struct.pack("!HH", 0, 15), struct.pack("!HH", 0, 16))


@pytest.mark.parametrize("form", [*FORMS, compressed])
def test_hep_is_decoded_as_another_program_decodes_it(form):
    """sip-doctor, which was written without siamjax, on a packaged capture."""
    path = chaos.CAPTURES / "blocked_001.pcap.xz"
    count = 0
    for time_ns, message, *ends in itertools.islice(
        fuzz_live.sip_messages(path), 0, None, 50
    ):
        payload = form(message, time_ns, *ends)
        want, got = sipdoctor_hep.decode(payload), hep.decode_hep(payload)
        ports = struct.unpack("!HH", got.ports)
        assert (want.src, want.sport, want.dst, want.dport) == (
            *(socket.inet_ntoa(got.source), ports[0]),
            *(socket.inet_ntoa(got.target), ports[1]),
        )
        assert want.payload == got.payload == message
        assert round(want.ts * 1e6) == hep.capture_time(payload) // 1000
        assert f"{want.src}:{want.sport}" == ends[0]
        count += 1
    assert count > 100


def test_a_compressed_message_is_never_long():
    payload = compressed(bytes(10**7), build.START_NS, *ENDS)
    assert len(hep.decode_hep(payload).payload) < 10**5
    assert hep.decode_hep(payload[:-9]) is not None
    damaged = payload.replace(zlib.compress(bytes(10**7))[:2], b"no")
    assert hep.decode_hep(damaged) is None


@pytest.mark.parametrize("form", FORMS)
def test_what_agents_send_over_udp_and_tcp_is_what_they_captured(form):
    server, tally = listening.HepServer("127.0.0.1", 0), sources.Tally()
    message, time_ns = build.request("OPTIONS", "ping"), build.START_NS // 1000 * 1000
    payloads = [form(message, time_ns + i * S, *ENDS) for i in range(4)]
    with contextlib.closing(server.packets(tally)) as batches:
        next(batches)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for payload in payloads[:2]:
                udp.sendto(payload, ("127.0.0.1", server.port))
            udp.sendto(b"no HEP", ("127.0.0.1", server.port))
        some, _ = take(batches, 3)
        if form is fuzz_live.hep3:  # HEP 2 is of UDP
            with socket.create_connection(("127.0.0.1", server.port)) as tcp:
                joined = b"".join(payloads[2:])
                tcp.sendall(joined[:50])
                next(batches)
                tcp.sendall(joined[50:])
                some += take(batches, 2)[0]
            with socket.create_connection(("127.0.0.1", server.port)) as tcp:
                tcp.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(100_000))
    frames = [frame for _, _, frame, _ in some if b"no HEP" not in frame]
    assert [hep.decode_hep(f[28:]).payload for f in frames] == [message] * len(frames)
    times = [t for t, _, frame, _ in some if b"no HEP" not in frame]
    assert times == [time_ns + i * S for i in range(len(frames))]
    reader = live_traffic.read(some)
    assert reader.counts["udp"] == 1
    assert len(reader.take()[0].kind) == len(frames)


def test_an_address_that_is_in_use_or_wrong_is_refused():
    server = listening.HepServer("127.0.0.1", 0)
    with pytest.raises(UsageError, match="cannot be used"):
        listening.HepServer("127.0.0.1", server.port)
    with contextlib.closing(server.packets(sources.Tally())) as batches:
        next(batches)
    assert listening.parse_address("host:1", 9) == ("host", 1)
    assert listening.parse_address("host", 9) == ("host", 9)
    assert listening.parse_address(":70", 9) == ("0.0.0.0", 70)
    for text in ("host:x", "host:70000"):
        with pytest.raises(UsageError, match="write HOST:PORT"):
            listening.parse_address(text, 9)


def test_a_program_that_captures_is_started_again(tmp_path):
    """An interface that goes down ends tcpdump; what the kernel lost is counted."""
    data = tmp_path / "x.pcap"
    data.write_bytes(build.pcap(FRAMES))
    program = tmp_path / "tcpdump"
    program.write_text(
        f"#!/bin/sh\ntrap '' USR1\ncat {data}\necho '3 packets dropped by kernel' >&2\n"
        "echo 'tcpdump: eth9: That device is not up' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    tally = sources.Tally()
    batches = listening.capture_interface("eth9", "udp", tally, str(program))
    with contextlib.closing(batches):
        some, said = take(batches, 3 * len(FRAMES), 4)
    assert len(some) >= 3 * len(FRAMES) and tally.dropped >= 6
    assert [n.what for n in said][:4] == [records.LOST, records.BACK] * 2
    assert "That device is not up" in said[0].detail


def test_an_interface_that_was_never_captured_is_refused(tmp_path):
    program = tmp_path / "tcpdump"
    program.write_text(
        "#!/bin/sh\necho 'tcpdump: eth9: No such device exists' >&2\n"
        "echo '(No such device exists)' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    batches = listening.capture_interface("eth9", "", sources.Tally(), str(program))
    with contextlib.closing(batches):
        with pytest.raises(
            UsageError, match="--interface=eth9: tcpdump: eth9: No such device exists:"
        ):
            take(batches, 1)


def test_an_interface_that_is_down_is_said_although_its_program_goes_on(
    tmp_path, monkeypatch
):
    data = tmp_path / "x.pcap"
    data.write_bytes(build.pcap(FRAMES))
    program = tmp_path / "tcpdump"
    program.write_text(f"#!/bin/sh\ntrap '' USR1\ncat {data}\nexec sleep 60\n")
    program.chmod(0o755)
    states = iter([True, True, False, False, True])
    monkeypatch.setattr(listening, "_is_up", lambda interface: next(states, True))
    batches = listening.capture_interface("eth9", "", sources.Tally(), str(program))
    with contextlib.closing(batches):
        _, said = take(batches, len(FRAMES), 2)
    assert said == [
        sources.Notice(records.LOST, "eth9 is down"),
        sources.Notice(records.BACK, "eth9 is up again"),
    ]


def test_the_state_of_an_interface_is_asked_of_the_system():
    up = [name for _, name in socket.if_nameindex() if listening._is_up(name)]
    assert "lo" in up
    assert listening._is_up("any") is None


def test_in_an_empty_folder_the_first_file_is_waited_for(tmp_path):
    with contextlib.closing(following.follow(tmp_path, sources.Tally())) as batches:
        assert next(batches).packets == []
        live_traffic.capture(tmp_path / "x.pcap", FRAMES)
        some, said = take(batches, len(FRAMES))
    assert len(some) == len(FRAMES) and not said


def test_a_program_that_captures_ends_with_the_monitor(tmp_path):
    """It would wait for the next packet for ever."""
    data, pid = tmp_path / "x.pcap", tmp_path / "pid"
    data.write_bytes(build.pcap(FRAMES))
    program = tmp_path / "tcpdump"
    program.write_text(f"#!/bin/sh\necho $$ > {pid}\ncat {data}\nexec sleep 60\n")
    program.chmod(0o755)
    batches = listening.capture_interface("eth9", "", sources.Tally(), str(program))
    with contextlib.closing(batches):
        take(batches, len(FRAMES))
    status = pathlib.Path(f"/proc/{pid.read_text().strip()}/status")
    until_s = time.monotonic() + 0.5  # before the thread looks that asks for counts
    while status.exists() and "zombie" not in status.read_text():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_stream_that_is_no_capture_is_refused():
    reader, writer = os.pipe()
    os.write(writer, b"hello, this is not a capture at all")
    os.close(writer)
    batches = sources.stream(open(reader, "rb"), "standard input", sources.Tally())
    with pytest.raises(SiamjaxError, match="standard input: not a capture"):
        take(batches, 1)


def test_what_waits_is_bounded(monkeypatch):
    """The stream is read no faster than the monitor takes its packets."""
    monkeypatch.setattr(sources, "MOST_WAITING", 10_000)
    reader, writer = os.pipe()
    written = []

    def write():
        with open(writer, "wb", buffering=0) as file:
            file.write(build.pcap([])[:24])
            data = build.pcap(FRAMES * 40)[24:]
            for start in range(0, len(data), 900):
                file.write(data[start : start + 900])
                written.append(start)

    thread = threading.Thread(target=write)
    thread.start()
    batches = sources.stream(open(reader, "rb"), "stdin", sources.Tally())
    next(batches)
    time.sleep(0.3)
    assert len(written) * 900 < 400_000
    some, _ = take(batches, len(FRAMES) * 40 - 100)
    thread.join()
    assert len(some) > 0


@pytest.mark.parametrize("name", list(fuzz_live.CASES))
def test_damaged_input_ends_no_source_and_each_packet_is_accounted_for(
    monkeypatch, tmp_path, name
):
    reference = live_traffic.make_reference(monkeypatch, tmp_path)
    tally = fuzz_live.fuzz_source(reference, name, 0, cases=8)
    assert tally["findings"] == 0 and tally["packets"] > 30

"""Each packet of a capture is in one group of its report, and the groups add up."""

import pathlib
import random
import struct

import pytest

from siamjax.capture import cleaning, events, layers, tshark
from siamjax.types import SiamjaxError
from tests import packet_builder as build
from tests import signalling
from tests.transport_packets import split

MS = 1_000_000
SHARED = pathlib.Path(__file__).parent.parent.parent / "shared"
HAS_TSHARK = tshark.find_tshark() is not None


def packet_captures():
    """Captures of other origins, where they are at hand."""
    for folder in ("cases/packets", "wild"):
        yield from (path for path in SHARED.glob(f"{folder}/**/*") if path.is_file())


@pytest.mark.slow
@pytest.mark.skipif(
    not any(packet_captures()), reason="captures of other origins are not at hand"
)
@pytest.mark.parametrize("protocols", [None, ["sip"], ["diameter", "gtpv2"]])
def test_captures_of_other_origins_add_up(monkeypatch, protocols):
    monkeypatch.setattr(tshark, "find_tshark", lambda: None)
    reports = []
    for path in packet_captures():
        try:
            reports.append(events.read_events(path, protocols=protocols)[2])
        except SiamjaxError:
            continue  # not a capture
        build.check_account(reports[-1])
    assert len(reports) > 50
    build.check_account(cleaning.total_report(reports))


class Size:
    """Gives all fragments the same size, in units of 8 bytes."""

    def __init__(self, units):
        self._units = units

    def randint(self, low, high):
        return self._units


def read(path, records, protocols=None):
    path.write_bytes(build.pcap(records))
    _, _, report = events.read_events(path, protocols=protocols)
    build.check_account(report)
    return report


def connection(messages, *, port=5060):
    """Records of a connection from its SYN to its FIN, each message in two segments."""
    records, place = [], {True: 100, False: 7000}

    def add(up, data, flags=0x10):
        ports = (40000, port) if up else (port, 40000)
        segment = build.tcp(data, place[up], ports=ports, flags=flags)
        ends = (build.CLIENT, build.SERVER) if up else (build.SERVER, build.CLIENT)
        number = len(records) + 1
        frame = build.sip_part(segment, *ends, protocol=6, ident=number)
        records.append((number * MS, frame))
        place[up] += len(data) + bool(flags & 3)

    add(True, b"", 0x02)
    add(False, b"", 0x12)
    add(True, b"")
    for up, data in messages:
        add(up, data[:60])
        add(not up, b"")
        add(up, data[60:])
        add(not up, b"")
    add(True, b"", 0x11)
    add(False, b"", 0x11)
    return records


def test_a_connection_of_sip_is_signalling_from_its_first_packet_to_its_last(tmp_path):
    sip = connection([(True, build.request()), (False, build.answer(200))])
    report = read(tmp_path / "a", sip)
    assert report.causes == {"signalling": len(sip) - 2}
    assert report.account == {"hold messages": 2, "are other parts of signalling": 11}
    assert cleaning.describe_account(report) == (
        "of 13 packets, 2 hold messages, 11 are other parts of signalling"
    )
    assert cleaning.format_reports([report]).endswith(cleaning.describe_account(report))
    ask, answer = b"GET / HTTP/1.1\r\n" * 9, b"HTTP/1.1 200\n" * 9
    web = connection([(True, ask), (False, answer)])
    assert read(tmp_path / "b", web).causes == {"tcp": 13}
    assert read(tmp_path / "c", sip, ["radius"]).account == {
        "carry no signalling that was asked for": 13
    }


def test_a_header_of_tcp_that_is_cut_at_a_port_that_was_not_asked_for(tmp_path):
    segment = build.tcp(b"data", ports=(40000, 3868))
    frames = [build.sip_part(segment[:size], protocol=6) for size in (4, 12, 24)]
    records = [(i * MS, frame) for i, frame in enumerate(frames)]
    report = read(tmp_path / "a", records, ["sip"])
    assert report.causes == {"malformed": 2, "not_asked": 1}


def test_a_lost_part_is_one_fragment_less_where_the_first_holds_a_message(tmp_path):
    first, second, third = (
        build.ethernet(part)
        for part in split(build.sip_frame(build.request(), ident=7)[14:], Size(13))
    )
    report = read(tmp_path / "a", [(0, first), (MS, third)])
    assert report.account == {"hold messages": 1, "were not read": 1}
    report = read(tmp_path / "b", [(0, second), (MS, third)])
    assert report.account == {"were not read": 2}
    media = split(build.ipv4(build.udp(bytes(500), 6000, 6002), ident=8), Size(20))
    frames = [(i * MS, build.ethernet(part)) for i, part in enumerate(media)]
    assert read(tmp_path / "c", frames).account == {
        "are fragments that were put together": len(media) - 1,
        "carry no signalling that was asked for": 1,
    }


@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_that_was_put_together_decodes_as_if_it_had_come_in_one(version):
    body = build.udp(build.request())
    part = layers.Part(17, 0, True)
    if version == 4:
        frame, link = build.ipv4(body, ident=9), 101
    else:
        frame, link = build.ipv6(body), 101
    whole = layers.decode_frame(link, frame)
    fragment = whole._replace(what=layers.FRAGMENT, part=part, payload=body[:80])
    assert layers.decode_frame(*layers.write_packet(fragment, body)) == whole


@pytest.mark.skipif(not HAS_TSHARK, reason="tshark is not installed")
@pytest.mark.parametrize("name", ["radius", "gtpv1", "diameter", "s1ap"])
def test_fragments_in_any_order_are_read_by_tshark(tmp_path, name):
    draw, records = random.Random(3), signalling.CONVERSATIONS[name]
    (tmp_path / "a").write_bytes(build.pcap(records))
    whole, kinds, report = events.read_events(tmp_path / "a", protocols=[name])
    parts = []
    for number, (time_ns, frame) in enumerate(records, 1):
        packet = frame[14:18] + struct.pack("!H", number) + frame[20:]
        pieces = split(packet, Size(3))
        draw.shuffle(pieces)
        parts += [(time_ns, build.ethernet(piece)) for piece in pieces]
    assert len(parts) > len(records)
    (tmp_path / "b").write_bytes(build.pcap(parts))
    got, same_kinds, same = events.read_events(tmp_path / "b", protocols=[name])
    build.check_account(same)
    assert same_kinds == kinds and report.messages == same.messages > 0
    for expected, actual in zip(whole[:5], got):
        assert expected.tolist() == actual.tolist()

"""Packets that were captured twice, out of order or with a wrong clock."""

import numpy as np
import pytest

from siamjax.capture import cleaning, duplicates, events
from tests import packet_builder as build
from tests.sip_captures import MS, at, read


def test_a_packet_captured_twice_is_one_and_a_repeated_message_is_two(tmp_path):
    ask = build.request()
    # At a mirror port, with a VLAN tag.
    mirrored = build.ethernet(build.ipv4(build.udp(ask), ident=7), tags=(0x8100,))
    copies = [
        at(0, ask, ident=7),
        at(1, ask, ident=7, ttl=63),  # at the next hop
        (build.START_NS + 2 * MS, mirrored),
        at(3, ask, ident=8),  # sent again at once
        at(500, ask, ident=7),
    ]
    got, _, report = read(tmp_path / "a", copies)
    assert report.causes == {"duplicated": 2}
    assert (got.time_ns // MS).tolist() == [0, 3, 500]
    assert got.retransmitted.tolist() == [False, True, True]
    assert report.messages == 3 and report.packets == 5


@pytest.mark.parametrize(
    "ident, later_ms, duplicates",
    [(7, 5, 1), (7, 20, 1), (7, 499, 1), (7, 500, 0), (0, 5, 1), (0, 6, 0)],
)
def test_an_equal_packet_is_a_copy_until_sip_itself_would_repeat(
    tmp_path, ident, later_ms, duplicates
):
    """Without an identification of IP only for 5 ms."""
    ask = build.request()
    records = [at(0, ask, ident=ident), at(later_ms, ask, ident=ident)]
    got, _, report = read(tmp_path / "a", records)
    assert report.causes.get("duplicated", 0) == duplicates
    assert len(got.time_ns) == 2 - duplicates


def test_what_is_remembered_is_bounded_where_all_packets_have_one_time(
    tmp_path, monkeypatch
):
    others = [at(0, build.request(call=f"call-{i}"), ident=100 + i) for i in range(60)]
    near, far = at(0, build.request(), ident=7), at(0, build.request(), ident=8)
    records = [far, *others, near, near, far]
    _, _, report = read(tmp_path / "a", records)
    assert report.causes == {"duplicated": 2}
    monkeypatch.setattr(duplicates, "MOST_REMEMBERED", 20)
    _, _, report = read(tmp_path / "b", records)
    assert report.causes == {"duplicated": 1}


def test_a_whole_capture_captured_twice_gives_the_same_events(tmp_path):
    records = [record for i in range(50) for record in build.call(str(i), i * 37 * MS)]
    late = [(time + 2 * MS, frame) for time, frame in records]
    want, kinds, _ = read(tmp_path / "a", sorted(records))
    got, same, report = read(tmp_path / "b", sorted(records + late))
    assert kinds == same
    for expected, actual in zip(want, got):
        np.testing.assert_array_equal(expected, actual)
    assert report.causes == {"duplicated": len(records)}


def test_packets_out_of_order_are_counted_and_sorted(tmp_path):
    want, kinds, _ = read(tmp_path / "a", build.call())
    shuffled = [build.call()[i] for i in (1, 0, 2, 4, 3, 6, 5)]
    got, same, report = read(tmp_path / "b", shuffled)
    assert kinds == same
    for expected, actual in zip(want, got):
        np.testing.assert_array_equal(expected, actual)
    assert report.causes == {"reordered": 3}


def test_a_packet_from_a_wrong_clock_does_not_stretch_the_capture(tmp_path):
    ask = build.sip_frame(build.request("OPTIONS", "x"))
    records = [*build.call()[:3], (0, ask), *build.call()[3:]]
    records.append((build.START_NS + 10**17, ask))
    got, kinds, report = read(tmp_path / "a", records)
    assert report.span_s == 2.0
    assert (got.time_ns // MS).tolist() == [0, 5, 250, 250, 700, 710, 1990, 2000, 2000]
    assert [i for i, kind in enumerate(kinds) if kind == "OPTIONS"] == [3, 8]
    assert report.causes == {"clock_step": 2}


def test_joined_captures_of_two_clocks_are_suspected(tmp_path):
    """The same call, captured at two places whose clocks differ by 3 s."""
    other = build.call(start_ns=build.START_NS + 3000 * MS)
    both = tmp_path / "both"
    both.write_bytes(build.pcap(build.call()) + build.pcap(other[2:]))
    _, _, report = events.read_events(both)
    assert cleaning.list_suspicions(report) == [
        "5 of 12 messages repeat another, and the file is joined of 2 captures: if "
        "they show the same calls, give each a file of its own"
    ]
    assert not cleaning.list_suspicions(report._replace(retransmitted=3))
    assert not cleaning.list_suspicions(report._replace(causes={}))

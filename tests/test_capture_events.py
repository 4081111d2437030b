"""Captures to events: repetition, latency, direction, dirt."""

import struct

import numpy as np
import pytest

from siamjax.capture import cleaning, events
from siamjax.capture.others import Others
from siamjax.types import FROM_SERVER, TO_SERVER, UNCLEAR, Events, SiamjaxError
from tests import packet_builder as build
from tests.sip_captures import MS, at, many_calls, read


def test_a_call_by_hand(tmp_path):
    got, kinds, report = read(tmp_path / "a.pcap", build.call())
    assert kinds == [
        "INVITE",
        "INVITE/100",
        "INVITE/180",
        "INVITE/200",
        "ACK",
        "BYE",
        "BYE/200",
    ]
    assert (got.time_ns // MS).tolist() == [0, 5, 250, 700, 710, 1990, 2000]
    assert got.latency_ns.tolist() == [-1, 5 * MS, 250 * MS, 700 * MS, -1, -1, 10 * MS]
    up = [TO_SERVER, FROM_SERVER, FROM_SERVER, FROM_SERVER, TO_SERVER, TO_SERVER]
    assert got.direction.tolist() == [*up, FROM_SERVER]
    assert not got.retransmitted.any()
    assert report == cleaning.Report(
        *("a.pcap", 7, 7, 0, 2.0, cleaning.FOUND, {}, [], {"sip": 7}, []),
        servers={"sip": cleaning.FOUND},
        account={"hold messages": 7},
    )
    types = (np.int64, np.int8, np.int32, np.bool_, np.int64)
    assert tuple(column.dtype.type for column in got[:5]) == types


@pytest.mark.parametrize(
    "make, options",
    [
        (build.pcap, {"nano": True}),
        (build.pcap, {"order": ">"}),
        (build.pcapng, {}),
        (build.pcapng, {"resolution": 9, "order": ">"}),
    ],
)
def test_every_format_gives_the_same_events(tmp_path, make, options):
    want, kinds, _ = read(tmp_path / "a", build.call())
    got, same_kinds, _ = read(tmp_path / "b", build.call(), make=make, **options)
    assert kinds == same_kinds
    for expected, actual in zip(want, got):
        np.testing.assert_array_equal(expected, actual)


def test_requests_repeat_and_their_answers_count_from_the_first(tmp_path):
    ask, ring = build.request(), build.answer(180)
    records = [
        at(0, ask, ident=1),
        at(500, ask, ident=2),
        at(600, ring, up=False, ident=3),
        at(1500, ask, ident=4),
        at(1600, ring, up=False, ident=5),
        at(1700, build.answer(200), up=False, ident=6),
    ]
    got, _, report = read(tmp_path / "a", records)
    assert got.retransmitted.tolist() == [False, True, False, True, True, False]
    assert got.latency_ns.tolist() == [-1, -1, 600 * MS, -1, -1, 1700 * MS]
    assert report.retransmitted == 3


def test_what_shares_a_name_but_is_no_repetition(tmp_path):
    """Another method, number, branch, status or call: each is a message of its own."""
    records = [
        at(0, build.request("INVITE", branch="z9hG4bK-1")),
        at(1, build.request("CANCEL", branch="z9hG4bK-1")),  # has all of its INVITE
        at(2, build.answer(200, "CANCEL", branch="z9hG4bK-1"), up=False),
        at(3, build.answer(487, "INVITE", branch="z9hG4bK-1"), up=False),
        at(4, build.request("ACK", branch="z9hG4bK-1")),
        at(5, build.request("INVITE", number=2, branch="z9hG4bK-2")),
        at(6, build.request("INVITE", number=2, branch="z9hG4bK-3")),  # at another hop
        at(7, build.request("INVITE", call="call-2", branch="z9hG4bK-1")),
        at(8, build.answer(180, "INVITE", number=2, branch="z9hG4bK-3"), up=False),
        at(9, build.answer(183, "INVITE", number=2, branch="z9hG4bK-3"), up=False),
    ]
    got, _, _ = read(tmp_path / "a", records)
    assert not got.retransmitted.any()
    latency_ms = [-1, -1, 1 * MS, 3 * MS, -1, -1, -1, -1, 2 * MS, 3 * MS]
    assert got.latency_ns.tolist() == latency_ms


def test_the_ack_of_a_repeated_200_repeats_whatever_its_branch(tmp_path):
    records = [
        at(0, build.request("ACK", branch="z9hG4bK-1")),
        at(500, build.request("ACK", branch="z9hG4bK-2")),
        at(600, build.request("ACK", branch="z9hG4bK-2"), up=False),  # relayed
    ]
    got, _, _ = read(tmp_path / "a", records)
    assert got.retransmitted.tolist() == [False, True, False]


def tagged(status, tag, **options):
    to = b"To: <sip:bob@example.org>"
    return build.answer(status, **options).replace(to, to + b";tag=" + tag)


def test_two_branches_of_a_forked_call_ring_and_answer_without_a_repetition(tmp_path):
    records = [
        at(0, build.request()),
        at(100, build.answer(100), up=False, ident=2),
        at(200, tagged(180, b"a"), up=False, ident=3),
        at(300, tagged(180, b"b"), up=False, ident=4),
        at(400, tagged(180, b"a"), up=False, ident=5),  # this one again
        at(500, tagged(200, b"b"), up=False, ident=6),
        at(600, tagged(200, b"a"), up=False, ident=7),
        at(1100, tagged(200, b"a"), up=False, ident=8),
        # Other requests are not forked.
        at(1200, build.request("BYE", number=2), ident=9),
        at(1300, tagged(200, b"a", method="BYE", number=2), up=False, ident=10),
        at(1400, tagged(200, b"b", method="BYE", number=2), up=False, ident=11),
    ]
    got, _, _ = read(tmp_path / "a", records)
    again = np.flatnonzero(got.retransmitted)
    assert again.tolist() == [4, 7, 10]
    assert got.latency_ns[[2, 3, 5, 6]].tolist() == [
        200 * MS,
        300 * MS,
        500 * MS,
        600 * MS,
    ]


def test_a_proxy_that_forwards_on_its_own_address_repeats_nothing(tmp_path):
    """Its ports tell the hops of an ACK apart, or else Max-Forwards."""

    def ack(branch, hops_left, *ports):
        message = build.request("ACK", branch=branch)
        message = message.replace(b"s: 70", b"s: %d" % hops_left)
        return build.ethernet(build.ipv4(build.udp(message, *ports), ident=ports[0]))

    frames = [
        ack("z9hG4bK-1", 70, 5060, 6060),
        ack("z9hG4bK-2", 70, 6060, 7060),
        ack("z9hG4bK-3", 69, 6060, 7060),
        ack("z9hG4bK-4", 70, 5060, 6060),  # of a repeated 200
    ]
    records = [(build.START_NS + i * 600 * MS, f) for i, f in enumerate(frames)]
    got, _, _ = read(tmp_path / "a", records)
    assert got.retransmitted.tolist() == [False, False, False, True]


def test_an_answer_without_its_request_has_no_latency(tmp_path):
    records = [at(0, build.answer(200), up=False), at(9, build.request())]
    got, _, _ = read(tmp_path / "a", records)
    assert got.latency_ns.tolist() == [-1, -1]


def test_an_answers_request_is_found_again_by_its_time(tmp_path):
    records = [
        record for i in range(9) for record in build.call(str(i), i * 333_333_333)
    ]
    got, kinds, _ = read(tmp_path / "a", records, nano=True, make=build.pcap)
    asked = set(got.time_ns[["/" not in kind for kind in kinds]].tolist())
    answered = got.latency_ns >= 0
    assert answered.sum() == 9 * 4
    assert set((got.time_ns - got.latency_ns)[answered].tolist()) <= asked


def test_other_traffic_is_counted_by_cause(tmp_path):
    frames = [
        build.ethernet(b"\0" * 28, kind=0x0806),
        build.ethernet(build.ipv4(b"\0" * 20, protocol=6, ident=2)),
        build.ethernet(build.ipv4(build.udp(b"\x80\0" * 90, 6000, 6002), ident=3)),
        build.ethernet(build.ipv4(build.udp(b"\x30\xff", 2152, 2152), ident=4)),
        build.ethernet(build.ipv4(b"\3\3" + b"\0" * 34, protocol=1, ident=5)),
        build.ethernet(build.ipv4(b"\0" * 8, protocol=1, ident=6)),
        build.ethernet(build.ipv4(b"\0" * 64, ident=7, fragment=25)),
        b"\1\2\3",
    ]
    times = range(build.START_NS, build.START_NS + 80 * MS, 10 * MS)
    got, kinds, report = read(tmp_path / "a", list(zip(times, frames)))
    assert kinds == ["other", "other", "icmp", "other"]
    assert set(got.direction) == {UNCLEAR}
    assert (got.latency_ns == -1).all() and not got.retransmitted.any()
    assert report.causes == dict.fromkeys(
        "not_ip fragment tcp udp icmp_other".split(), 1
    ) | {"malformed": 2}
    assert report.server == cleaning.UNCLEAR and report.messages == 0


def test_compact_headers_and_ipv6(tmp_path):
    def frame(message, *ends):
        return build.ethernet(build.ipv6(build.udp(message, 40000, 40001), *ends))

    ask = frame(build.request(spelling="compact"))
    ends = "2001:db8::2", "2001:db8::1"
    reply = frame(build.answer(486, spelling="compact"), *ends)
    got, kinds, report = read(tmp_path / "a", [(0, ask), (MS, reply)])
    assert kinds == ["INVITE", "INVITE/486"]
    assert got.latency_ns.tolist() == [-1, MS]
    assert got.direction.tolist() == [TO_SERVER, FROM_SERVER]
    assert report.causes == {}


@pytest.mark.parametrize("pause_s, again", [(20, True), (3600, False)])
def test_calls_made_again_with_the_same_names_repeat_nothing(tmp_path, pause_s, again):
    """As where a test ran twice and its captures were joined; 20 s may be SIP's own."""
    later = build.call(start_ns=build.START_NS + pause_s * 1000 * MS)
    both = tmp_path / "both"
    both.write_bytes(build.pcap(build.call()) + build.pcap(later))
    got, _, report = events.read_events(both)
    assert report.messages == 14
    assert got.retransmitted.tolist() == [False] * 7 + [again] * 7
    if not again:
        assert got.latency_ns[7:].tolist() == got.latency_ns[:7].tolist()
        assert got.latency_ns.max() == 700 * MS


def test_names_used_again_of_one_call_among_others(tmp_path):
    """Also where a request is repeated, and where the answer to one is lost."""
    start, minute = build.START_NS, 60_000 * MS
    ask, ok = build.request("OPTIONS", "ping"), build.answer(200, "OPTIONS", "ping")
    up = [build.sip_frame(ask, ident=i + 50) for i in range(4)]
    down = [
        build.sip_frame(ok, build.SERVER, build.CLIENT, ident=i + 60) for i in range(3)
    ]
    pings = [(0, up[0]), (10, down[0]), (60000, up[1]), (60500, up[2])]
    pings += [(60530, down[1]), (120000, up[3])]
    records = [(start + ms * MS, frame) for ms, frame in pings]
    calls = [r for i in range(3) for r in build.call(f"c{i}", start + i * minute)]
    got, kinds, _ = read(tmp_path / "a", sorted(records + calls))
    of_pings = [kind.startswith("OPTIONS") for kind in kinds]
    again = [False, False, False, True, False, False]
    assert got.retransmitted[of_pings].tolist() == again
    waits_ms = [-1, 10, -1, -1, 530, -1]
    assert [max(w, -1) // MS for w in got.latency_ns[of_pings].tolist()] == waits_ms
    assert not got.retransmitted[np.logical_not(of_pings)].any()


def test_a_capture_without_a_packet_is_refused(tmp_path):
    with pytest.raises(SiamjaxError, match="without a packet"):
        read(tmp_path / "a.pcap", [])


def test_one_packet_is_a_capture(tmp_path):
    _, kinds, report = read(tmp_path / "a", build.call()[:1])
    assert kinds == ["INVITE"] and report.span_s == 0.0 and report.gaps == []


def test_silence_is_a_gap(tmp_path):
    records = many_calls(20, build.CLIENT, build.SERVER)
    later = [(time + 30 * 10**9, frame) for time, frame in build.call("late")]
    _, _, report = read(tmp_path / "a", sorted(records + later))
    last_s = (max(time for time, _ in records) - build.START_NS) / 1e9
    assert report.gaps == [[pytest.approx(last_s), pytest.approx(30 - last_s)]]


def test_nothing_that_names_anyone_is_kept(tmp_path):
    records = many_calls(3, build.CLIENT, build.SERVER)
    got, kinds, report = read(tmp_path / "a", records)
    kept = repr((kinds, report)) + repr([column.tolist() for column in got[:5]])
    assert "192.0.2" not in kept and "bob" not in kept and "call" not in kept


def test_methods_that_a_sender_made_up_are_one_kind(tmp_path):
    records = []
    for i in range(26):
        method = chr(65 + i) * 1000
        branch = f"z9hG4bK-{i}"
        records.append(at(2 * i, build.request(method, f"{i}", 1, branch)))
        answer = build.answer(200 + i, method, f"{i}", 1, branch)
        records.append(at(2 * i + 1, answer, up=False))
    events_read, kinds, report = read(tmp_path / "a", records)
    assert kinds[::2] == ["other"] * 26
    assert kinds[1::2] == [f"other/{200 + i}" for i in range(26)]
    assert report.causes == {"other_method": 52} and report.messages == 52
    # They are matched as any other.
    assert events_read.latency_ns.tolist() == [-1, MS] * 26


def unread(packet):
    """How a call of seven messages looks inside what is not read."""
    hidden = packet[:19:-1]
    record = b"\x17\3\3" + struct.pack("!H", len(hidden)) + hidden
    deep = packet
    for _ in range(70 * bool(packet)):
        deep = build.ipv4(deep, protocol=4)
    return {
        "too_deep": (101, deep),
        "ipsec": (1, build.ethernet(build.ipv4(hidden, protocol=50, ident=0))),
        "unknown_link": (147, packet),
        "not_ip": (1, build.ethernet(b"\0\1\x08\0\6\4\0\1" + bytes(20), 0x0806)),
        "tls": (1, build.ethernet(build.ipv4(build.tcp(record), protocol=6))),
        "sctp": (1, build.ethernet(build.ipv4(build.sctp(hidden), protocol=132))),
        "tunnel": (1, build.ethernet(build.ipv4(hidden, protocol=115))),
    }


@pytest.mark.parametrize("cause", unread(b""))
def test_signalling_inside_what_is_not_read_is_no_message_but_a_count(tmp_path, cause):
    link, records = 1, []
    for number, (time_ns, frame) in enumerate(build.call()):
        link, hidden = unread(frame[14:])[cause]
        if cause == "tls":
            hidden = hidden[:38] + struct.pack("!I", number << 16) + hidden[42:]
        records.append((time_ns, hidden))
    _, _, report = read(tmp_path / "a", records, link=link)
    assert (report.messages, report.packets, report.causes) == (0, 7, {cause: 7})
    meaning = cleaning.CAUSES[cause].partition(":")[0]
    assert (
        cleaning.sentence(report)
        == f"0 messages of SIP in 7 packets: 7 {cause} ({meaning})"
    )
    harmless = cause == "not_ip"  # two ARP frames hide no message
    assert cleaning.not_read(report) == ({} if harmless else {cause: 7})


def test_what_was_not_read_is_said_beside_what_was(tmp_path):
    link, hidden = unread(build.call()[0][1][14:])["ipsec"]
    records = [*build.call(), (build.START_NS + 1999 * MS, hidden)]
    _, _, report = read(tmp_path / "a", records, link=link)
    assert report.causes == {"ipsec": 1, "reordered": 1}
    assert cleaning.sentence(report) == (
        "7 messages of SIP in 8 packets; "
        "not read: 1 ipsec (packets encrypted by IPsec, not read)"
    )
    _, _, report = read(tmp_path / "a", build.call())
    assert cleaning.not_read(report) == {}
    assert cleaning.sentence(report) == "7 messages of SIP in 7 packets"
    for cause in cleaning.NOT_READ:
        assert cause in cleaning.CAUSES


def test_a_capture_of_packets_without_a_time_says_so(tmp_path):
    simple = build.block(3, struct.pack("<I", 4) + b"abcd")
    (tmp_path / "a").write_bytes(build.pcapng([]) + 2 * simple)
    with pytest.raises(SiamjaxError, match="without a packet: 2 untimed"):
        events.read_events(tmp_path / "a")


def test_a_lack_of_memory_is_one_line(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(events.messages, "read_messages", fail)
    with pytest.raises(SiamjaxError, match="a needs more memory than there is"):
        read(tmp_path / "a", build.call())


@pytest.mark.parametrize("seed", range(20))
def test_packets_without_signalling_are_mixed_in_by_time_and_packet(seed):
    """As sorting all by time, then by number in the file."""
    rng = np.random.default_rng(seed)
    is_other = rng.random(40) < rng.random()
    times_ns = rng.integers(0, 12, 40) * 10**9
    numbers = np.arange(40)
    order = np.lexsort((numbers, times_ns))
    few, many = order[~is_other[order]], order[is_other[order]]
    zeros = np.zeros(len(few), np.int8)
    got = Events(times_ns[few], zeros, zeros.astype(np.int32), zeros > 0, few)
    ones = np.ones(len(many), np.int64)
    rows = Others(many, times_ns[many] + 7, many % 3, 0 * ones, ones)
    mixed, kinds = events._mix(got, ("sip:ACK",), few, rows, 7)
    assert kinds == ("other", "sip:ACK") or not len(many)
    np.testing.assert_array_equal(mixed.time_ns, times_ns[order])
    wanted = np.where(is_other, -1, numbers)[order]
    np.testing.assert_array_equal(mixed.latency_ns, wanted)
    assert mixed.packets is None

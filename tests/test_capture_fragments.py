"""Messages in IP fragments and in packets that were cut."""

from collections import Counter

import numpy as np

from siamjax.capture import cleaning
from tests import packet_builder as build
from tests.sip_captures import MS, at, read


def in_fragments(message, ident, sizes, **options):
    """Frames of the fragments of a message: of bytes, a multiple of 8 but the last."""
    whole, frames, start = build.udp(message), [], 0
    for size in [*sizes, len(whole)]:
        part = whole[start : start + size]
        more = 0x2000 if start + size < len(whole) else 0
        place = more | start // 8
        frames.append(build.sip_part(part, ident=ident, fragment=place, **options))
        start += size
        if not more:
            return frames


def test_fragments_are_put_together_in_any_order_and_where_copies_mix_in(tmp_path):
    first, second, third = in_fragments(build.request(), 7, [104, 64])
    frames = [third, first, first, second, third, second]
    records = [(build.START_NS + i * MS, frame) for i, frame in enumerate(frames)]
    got, kinds, report = read(tmp_path / "a", records)
    assert kinds == ["INVITE"] and report.causes == {"duplicated": 3, "assembled": 2}
    assert got.time_ns.tolist() == [3 * MS]  # when the receiver has all of it


def test_the_beginning_is_read_where_the_rest_is_lost_and_nothing_else(tmp_path):
    first, second, third = in_fragments(build.request(), 7, [168, 48])
    records = [(0, first), (MS, third), (2 * MS, first[:20] + b"\0" * 22)]
    got, kinds, report = read(tmp_path / "a", records)
    assert kinds == ["INVITE"] and got.time_ns.tolist() == [0]
    assert report.causes == {"fragment": 1, "malformed": 1}
    _, kinds, report = read(tmp_path / "a", [(0, second), (MS, third)])
    assert kinds == [] and report.causes == {"fragment": 2}


def test_a_repeated_request_in_fragments_is_repeated(tmp_path):
    """The transaction is named behind the first fragment."""
    padded = build.request().replace(b"CSeq", b"Subject: %s\r\nCSeq" % (b"x" * 900))
    records = [
        (build.START_NS + later_ms * MS + i, frame)
        for later_ms, ident in ((0, 7), (500, 8))
        for i, frame in enumerate(in_fragments(padded, ident, [480, 480]))
    ]
    records.append(at(600, build.answer(200), up=False, ident=9))
    got, _, report = read(tmp_path / "a", records, nano=True)
    assert got.retransmitted.tolist() == [False, True, False]
    assert got.latency_ns.tolist() == [-1, -1, 600 * MS - 2]
    assert report.causes == {"assembled": 4}


def test_a_snap_length_costs_only_what_it_cuts(tmp_path):
    want, kinds, _ = read(tmp_path / "a", build.call())
    enough = max(len(f) for _, f in build.call()) - 60  # within From and To
    got, same, report = read(tmp_path / "b", build.call(), snap=enough)
    assert kinds == same
    for expected, actual in zip(want, got):
        np.testing.assert_array_equal(expected, actual)
    assert report.causes == {"snapped": 7}
    # Down to the first line: requests keep their kind, nothing else is known.
    got, kinds, report = read(tmp_path / "c", build.call(), snap=42 + 45)
    assert Counter(kinds) == {"INVITE": 1, "ACK": 1, "BYE": 1, "other": 4}
    assert report.causes == {"snapped": 7, "unnamed": 7}
    assert cleaning.not_read(report) == {"unnamed": 7}
    assert report.messages == 7 and report.server == cleaning.UNCLEAR

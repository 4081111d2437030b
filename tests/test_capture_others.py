"""Packets without signalling share rows: what is counted stays the same."""

import random

import numpy as np
import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from siamjax.capture import events, others
from tests import packet_builder as build

MS = 1_000_000


@settings(max_examples=60, deadline=None)
@given_by(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 5), st.integers(0, 5)),
        max_size=60,
    ),
    st.integers(1, 9),
    st.integers(4, 99),
    st.integers(0, 2**32),
)
def test_packets_that_share_rows_count_as_if_each_had_its_own(
    steps, single, shared, seed
):
    """In bins of whole steps, by direction, and but for those given to tshark."""
    draw = random.Random(seed)
    now_ns, packets = 10**18, []
    for number, (step_ms, source, target) in enumerate(steps):
        now_ns += step_ms * MS + draw.randint(0, 999)
        late_ns = draw.randint(0, 50 * MS)  # out of order
        packets.append(((number, now_ns + late_ns), source, target))
    given = set(draw.sample(range(len(packets)), len(packets) // 4))
    first_ns = min((time_ns for (_, time_ns), *_ in packets), default=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(others, "MOST_SINGLE", single)
        patch.setattr(others, "MOST_SHARED", shared)
        collected = others.OtherPackets(lambda: [2, 3], lambda: first_ns)
        for packet, source, target in packets:
            if packet[0] in given:
                collected.keep(packet)
            collected.add(packet, source, target)
        rows = collected.take()
    step_ns = collected.step_ns
    assert step_ns == others.STEPS_NS[0] or len(packets) > shared

    def count(rows):
        shared = others.share_rows(rows, step_ns, first_ns)
        place = [(shared.time_ns - first_ns) // step_ns, shared.source, shared.target]
        return dict(zip(zip(*(x.tolist() for x in place)), shared.packets.tolist()))

    def numbered(end):
        return [x if x in (2, 3) else others.NO_SERVER for x in end]

    ends = (np.array(numbered(end), np.int64) for end in (rows.source, rows.target))
    rows = others.Others(*rows[:2], *ends, rows.packets)
    numbers, times_ns = np.array([p for p, *_ in packets], np.int64).reshape(-1, 2).T
    single = others.Others(
        numbers,
        times_ns,
        np.array(numbered([source for _, source, _ in packets]), np.int64),
        np.array(numbered([target for *_, target in packets]), np.int64),
        np.ones(len(packets), np.int64),
    )
    assert count(rows) == count(single)
    assert given <= set(rows.packet[rows.packets == 1].tolist())


def test_a_capture_counts_the_same_where_its_media_share_rows(tmp_path, monkeypatch):
    """Also by direction: the server is known before the first packets share a row."""
    frames = build.call()
    for number in range(600):
        media = build.udp(b"\x80" + bytes(20) + number.to_bytes(2, "big"), 6000, 6002)
        ends = [build.CLIENT, build.SERVER, build.OTHER]
        packet = build.ipv4(media, ends[number % 3], ends[number % 2], ident=number + 9)
        late_ms = number * 3 + 40 * (number % 5 == 0)  # out of order
        frames.append((build.START_NS + late_ms * MS, build.ethernet(packet)))
    frames.sort(key=lambda frame: frame[0] // (100 * MS))
    (tmp_path / "a").write_bytes(build.pcap(frames))
    alone, kinds, report = events.read_events(tmp_path / "a")
    monkeypatch.setattr(others, "MOST_SINGLE", 50)
    shared, same_kinds, same = events.read_events(tmp_path / "a")
    assert (kinds, report) == (same_kinds, same) and len(alone.kind) < 400
    for column, wanted in zip(shared, alone):
        np.testing.assert_array_equal(column, wanted)
    assert {0, 1, 2} == set(shared.direction.tolist())
    monkeypatch.setattr(others, "MOST_SHARED", 50)
    coarse, _, report = events.read_events(tmp_path / "a")
    assert report.notes == (
        "packets without signalling are counted in steps of 1 s: they are many, over "
        "a long time",
    )
    assert coarse.packets.sum() == shared.packets.sum() == 607

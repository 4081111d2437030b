"""Which address of a capture is the server, whatever the addresses are."""

import lzma

import numpy as np
import pytest

from siamjax.capture import cleaning, events
from siamjax.types import FROM_SERVER, UNCLEAR
from tests import packet_builder as build
from tests.sip_captures import CAPTURES, at, many_calls, read


@pytest.mark.parametrize(
    "others",
    [
        [],
        many_calls(3, build.OTHER, build.SERVER),  # a second client
        many_calls(1, build.CLIENT, build.OTHER),  # the client's stray call elsewhere
    ],
)
def test_the_server_is_who_is_asked_by_most(tmp_path, others):
    records = sorted(many_calls(30, build.CLIENT, build.SERVER) + others)
    _, _, report = read(tmp_path / "a", records)
    got, _, same = read(tmp_path / "b", records, server=b"\xc0\0\2\2")
    assert (report.server, same.server) == (cleaning.FOUND, cleaning.GIVEN)
    detected, _, _ = read(tmp_path / "a", records)
    np.testing.assert_array_equal(detected.direction, got.direction)


def test_a_server_that_hangs_up_and_pings_is_still_the_server(tmp_path):
    records = many_calls(5, build.CLIENT, build.SERVER)
    for i in range(20):
        ping = build.request("OPTIONS", f"ping-{i}", 1, f"z9hG4bK-{i}")
        records.append(at(i, ping, up=False, ident=99 + i))
    got, kinds, _ = read(tmp_path / "a", sorted(records))
    pings = [d for d, kind in zip(got.direction, kinds) if kind == "OPTIONS"]
    assert set(pings) == {FROM_SERVER}


def test_between_peers_no_server_is_clear(tmp_path):
    forth = many_calls(10, build.CLIENT, build.SERVER)
    back = many_calls(9, build.SERVER, build.CLIENT, start=50)
    got, _, report = read(tmp_path / "a", forth + back)
    assert report.server == cleaning.UNCLEAR
    assert set(got.direction) == {UNCLEAR}


def test_a_given_server_that_is_not_there_is_said(tmp_path):
    got, _, report = read(tmp_path / "a", build.call(), server=b"\1\2\3\4")
    assert report.server == cleaning.ABSENT
    assert set(got.direction) == {UNCLEAR}


@pytest.mark.parametrize("name", ["invite_flood_001", "blocked_005"])
def test_renumbering_all_addresses_changes_no_event(tmp_path, name):
    """Not even where it turns their order around."""
    with lzma.open(CAPTURES / f"{name}.pcap.xz") as file:
        data = file.read()
    head, frames = data[:24], []
    place = 24
    while place < len(data):
        size = int.from_bytes(data[place + 8 : place + 12], "little")
        frame = bytearray(data[place : place + 16 + size])
        if frame[16 + 12 : 16 + 14] == b"\x08\0":
            flipped = bytes(255 - byte for byte in frame[16 + 26 : 16 + 34])
            frame[16 + 26 : 16 + 34] = flipped
        frames.append(bytes(frame))
        place += 16 + size
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(head + b"".join(frames))
    want, kinds, report = events.read_events(tmp_path / "a")
    got, same, renumbered = events.read_events(tmp_path / "b")
    assert kinds == same and report.server == cleaning.FOUND
    for expected, actual in zip(want, got):
        np.testing.assert_array_equal(expected, actual)
    assert report._replace(name="b") == renumbered

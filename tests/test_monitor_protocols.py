"""Protocols that tshark reads, live: the same counts and verdicts as of a file."""

import os
import signal
import time
from collections import Counter

import numpy as np
import pytest

from siamjax.capture import packets, tshark
from siamjax.capture.protocols import PROTOCOLS
from siamjax.data import columns, counts, prepared
from siamjax.monitoring import (
    binning,
    monitor,
    protocol_binning,
    records,
    sources,
    states,
    watching,
)
from siamjax.types import SiamjaxError, UsageError
from tests import live_traffic, signalling
from tests import packet_builder as build
from tests.live_traffic import assert_as_identified

S = 10**9
NEEDS_TSHARK = pytest.mark.skipif(
    tshark.find_tshark() is None, reason="tshark is not installed"
)
# A request and its answer each second; in the middle, requests alone.
ASK, ANSWER = (frame for _, frame in signalling.CONVERSATIONS["radius"][:2])
TRAFFIC = sorted(
    (build.START_NS + i * S // 4 + wait_ns, frame)
    for i in range(4 * 90)
    for wait_ns, frame in ((0, ASK), (S // 50, ANSWER))
    if i % 4 == 0 or 40 * 4 <= i < 60 * 4
    if frame is ASK or not 40 * 4 <= i < 60 * 4
)


@pytest.fixture
def recorded(monkeypatch):
    """tshark as it was recorded."""
    monkeypatch.setattr(tshark, "Run", signalling.RecordedRun)
    monkeypatch.setattr(tshark, "find_tshark", lambda: "tshark")
    monkeypatch.setattr(tshark, "tshark_version", lambda program: "4.0.17")


def make_reference(monkeypatch, folder):
    return live_traffic.make_reference(
        monkeypatch, folder, of=columns.event_columns(("radius",))
    )


def count_live(frames, protocols, size=3, bin_s=0.1, after=None):
    """What a binner counts of frames `(time_ns, frame)`, and the binner.

    Args:
      frames: in batches of `size`.
      after: is called with the binner and the number of each batch.
    """
    binner, parts = protocol_binning.ProtocolBinner(bin_s, protocols), []

    def close(bins):
        if bins > binner.bins:
            parts.append(binner.close(bins).sessions["all"].counts)

    for i in range(0, len(frames), size):
        for time_ns, frame in frames[i : i + size]:
            binner.add(time_ns, 1, frame, len(frame))
        close(binner.ready())
        if after is not None:
            after(binner, i // size)
    close(binner.finish())
    binner.end()
    return np.concatenate(parts), binner


def count_file(path, frames, protocols, bin_s=0.1):
    """What is counted of a file of these frames."""
    path.write_bytes(build.pcap(frames))
    session, kinds, _ = prepared.session_from_capture(path, protocols=protocols)
    return counts.bin_session(session, kinds, bin_s, protocols)


@pytest.mark.parametrize(
    "name, protocols",
    [
        ("radius", ("radius",)),
        ("radius", ("sip", "radius")),
        ("gtpv1", ("gtpv1",)),
        ("diameter", ("diameter",)),
        ("gtpv2", ("gtpv2",)),
        ("pfcp", ("pfcp",)),
        ("s1ap", ("s1ap", "nas-eps")),
        ("ngap", ("ngap", "nas-5gs")),
        ("ss7", ("m3ua", "sccp", "tcap", "map", "camel", "isup")),
        ("mgcp", ("mgcp", "megaco", "dns", "dhcp")),
        ("dns", ("dns",)),
    ],
)
def test_counts_are_those_of_a_file(recorded, tmp_path, name, protocols):
    frames = signalling.CONVERSATIONS[name]
    late = [frames[1], frames[0], *frames[2:]]  # of two, the earlier comes later
    last_ns = max(time_ns for time_ns, _ in frames)
    # Once more, after the names of transactions may mean others.
    late += [(time_ns + 200 * S, frame) for time_ns, frame in frames]
    late.append((last_ns + 202 * S, frames[0][1]))
    wanted = count_file(tmp_path / "x.pcap", late, protocols)
    for size in (1, 4):
        got, _ = count_live(late, protocols, size)
        np.testing.assert_array_equal(got, wanted)
    assert np.nansum(wanted) > 0


def test_a_replayed_capture_gives_what_identify_says(recorded, monkeypatch, tmp_path):
    reference = make_reference(monkeypatch, tmp_path)
    path = live_traffic.capture(tmp_path / "x.pcap", TRAFFIC)
    tally = sources.Tally()
    watched = monitor.Monitor(reference, tally)
    made = list(
        watching.watch(
            watched, sources.replay(path, 0, tally), source="x", heartbeat_s=1e6
        )
    )
    assert_as_identified(made, path, reference)
    assert len(live_traffic.of_kind(made, records.Stretch)) >= 3
    # A restart in the middle goes on from the state.
    again, stop = [], len(TRAFFIC) // 2
    for first, end in ((0, stop), (None, None)):
        watched = monitor.Monitor(reference, tally)
        states.restore_state(tmp_path, watched)
        first = watched.position.offset if first is None else first
        for i in range(first, end or len(TRAFFIC), 20):
            some = [(t, 1, frame, len(frame)) for t, frame in TRAFFIC[i:end][:20]]
            position = sources.Position("x", i)
            again += watched.add(sources.Batch(some, time.monotonic(), (), position))
        states.save_state(tmp_path, watched)
    again += watched.finish()
    kinds = records.Change, records.Stretch
    wanted = [record for record in made if isinstance(record, kinds)]
    assert [record for record in again if isinstance(record, kinds)] == wanted


class FailingRun(signalling.RecordedRun):
    """It ends at some questions, counted over all runs, and read half of the rest."""

    asked = 0
    fails = ()
    left = ()

    def answer_all(self, time_ns):
        FailingRun.asked += 1
        if FailingRun.asked not in self.fails:
            return super().answer_all(time_ns)
        half = (len(self._frames) + self._overlap) // 2
        self.left = [packet[0] for packet, _ in self._frames[half:]]
        self._frames = self._frames[:half]
        super().finish()
        return False

    def unread(self):
        return self.left


def test_a_tshark_that_ends_is_replaced_and_nothing_is_lost(
    recorded, monkeypatch, tmp_path
):
    monkeypatch.setattr(tshark, "Run", FailingRun)
    wanted = count_file(tmp_path / "x.pcap", TRAFFIC, ("radius",))
    monkeypatch.setattr(FailingRun, "fails", (3, 7))
    got, binner = count_live(TRAFFIC, ("radius",), 30)
    np.testing.assert_array_equal(got, wanted)
    said = binner.take_notices()
    assert [n.what for n in said] == [records.LOST, records.BACK] * 2
    assert "packets are given to another" in said[0].detail
    assert not binner.counts["tshark"]
    # Twice in turn: these packets are not read, and counted.
    monkeypatch.setattr(FailingRun, "asked", 0)
    monkeypatch.setattr(FailingRun, "fails", (3, 4))
    got, binner = count_live(TRAFFIC, ("radius",), 30)
    said = binner.take_notices()
    assert [n.what for n in said] == [records.LOST] * 2
    lost = binner.counts["tshark"]
    assert 0 < lost < 60 and f"{lost} packets are not read" in said[1].detail
    assert got.shape == wanted.shape and np.nansum(got) < np.nansum(wanted)
    # It never works: that is no way to go on.
    monkeypatch.setattr(FailingRun, "fails", range(10**6))
    with pytest.raises(SiamjaxError, match="tshark failed 10 times in turn"):
        count_live(TRAFFIC, ("radius",), 30)


def test_a_new_tshark_is_started_after_many_packets(recorded, monkeypatch, tmp_path):
    """Its memory grows with each one; the same packets as of a file come again."""
    monkeypatch.setattr(tshark, "MOST_PACKETS", 40)
    monkeypatch.setattr(tshark, "OVERLAP", 5)
    made = []

    class CountedRun(signalling.RecordedRun):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(options["overlap"])

    monkeypatch.setattr(tshark, "Run", CountedRun)
    got, binner = count_live(TRAFFIC, ("radius",), 7)
    assert made[:4] == [0, 5, 5, 5]
    live, made[:] = list(made), []
    wanted = count_file(tmp_path / "x.pcap", TRAFFIC, ("radius",))
    assert made == live
    np.testing.assert_array_equal(got, wanted)
    assert not binner.take_notices()


@NEEDS_TSHARK
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP])
def test_tshark_itself_ends_or_hangs(monkeypatch, tmp_path, stop):
    monkeypatch.setattr(protocol_binning, "PATIENCE_S", 30.0)
    wanted = count_file(tmp_path / "x.pcap", TRAFFIC, ("radius",))
    ended = []

    def end(binner, number):
        if number == 6:
            run = binner._collector._run
            ended.append(run._process.pid)
            monkeypatch.setattr(run, "_patience_s", 0.3)
            os.kill(run._process.pid, stop)

    got, binner = count_live(TRAFFIC, ("radius",), 20, after=end)
    np.testing.assert_array_equal(got, wanted)
    said = binner.take_notices()
    assert [n.what for n in said] == [records.LOST, records.BACK] and ended
    assert ("hung" in said[0].detail) == (stop == signal.SIGSTOP)


@NEEDS_TSHARK
def test_a_packaged_capture_is_counted_as_its_file():
    path = live_traffic.DATA / "radius" / "captures" / "accounting_down_001.pcap.xz"
    session, kinds, _ = prepared.session_from_capture(path, protocols=("radius",))
    wanted = counts.bin_session(session, kinds, 0.5, ("radius",))
    some = [(t, frame) for t, _, frame, _ in packets.read_packets(path, Counter())]
    got, _ = count_live(some, ("radius",), 500, bin_s=0.5)
    np.testing.assert_array_equal(got, wanted)


def test_what_cannot_be_read_live_is_refused(monkeypatch):
    monkeypatch.setattr(tshark, "find_tshark", lambda: None)
    with pytest.raises(UsageError, match="radius need tshark: install it"):
        protocol_binning.ProtocolBinner(0.5, ("radius",))
    with pytest.raises(UsageError, match="HTTP/2 is not read live"):
        protocol_binning.ProtocolBinner(0.5, ("sip", "http2"))


def test_no_transaction_is_forgotten_before_its_answer_may_come():
    waits = [protocol.longest_wait_s for protocol in PROTOCOLS.values()]
    assert max(waits) * 10**9 <= binning.FORGET_NS

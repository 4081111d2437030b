"""Files of one capture that were written in a row are one session."""

import itertools
import json
import pathlib
import random
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamjax.capture import events, parts
from siamjax.data import prepared, sources
from siamjax.types import SiamjaxError, UsageError
from tests import commands
from tests import packet_builder as build
from tests import transport_packets as transports

MS = 1_000_000


def traffic(seed):
    """Frames in order of time: calls over UDP in fragments, calls over TCP, media."""
    draw = random.Random(seed)
    frames = []
    for number, (time_ns, packet) in enumerate(transports.packets_of(transports.STEPS)):
        for part in transports.split(packet, draw):
            frames.append((time_ns + number, build.ethernet(part)))
    for time_ns, _, packet in transports.segments_of(transports.ONCE, draw, most=200):
        frames.append((time_ns + 3 * MS, build.ethernet(packet)))
    for number in range(40):
        media = build.udp(b"\x80" + bytes(20) + bytes([number]), 6000, 6002)
        packet = build.ipv4(media, ident=500 + number)
        frames.append((build.START_NS + 60 * MS * number, build.ethernet(packet)))
    return sorted(frames, key=lambda frame: frame[0])


NAMES = {
    "tcpdump -C": lambda i: f"x.pcap{i or ''}",
    "tcpdump -G": lambda i: f"x_2026010112{59 - i:02}00.pcap",  # the clock was set back
    "dumpcap -b": lambda i: f"x_{(i + 7) % 20:05}_20260101.pcapng",  # the ring is full
}


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 9),
    st.lists(st.integers(0, 250), max_size=11),
    st.sampled_from(list(NAMES)),
    st.sampled_from(list(build.PACK)),
)
def test_a_capture_cut_anywhere_gives_the_same_events(seed, cuts, names, pack):
    frames = traffic(seed)
    edges = sorted({0, *(cut for cut in cuts if cut < len(frames)), len(frames)})
    edges = [i for i in edges if i in (0, len(frames)) or _differ(frames, i)]
    make = build.pcapng if names == "dumpcap -b" else build.pcap
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "whole").write_bytes(build.pcap(frames))
        for i, (start, end) in enumerate(itertools.pairwise(edges)):
            data = build.PACK[pack](make(frames[start:end]))
            (folder / NAMES[names](i)).write_bytes(data)
        (folder / "x_newest").write_bytes(b"")  # nothing was written to it yet
        session = parts.match_files("x", f"{folder}/x*")
        want, want_kinds, whole = events.read_events(
            folder / "whole", protocols=["sip"]
        )
        got, kinds, report = events.read_events(session, protocols=["sip"])
        assert events.read_span(session) == events.read_span(folder / "whole")
    assert kinds == want_kinds and whole.messages > 30
    for name, column, wanted in zip(got._fields, got, want):
        np.testing.assert_array_equal(column, wanted, name)
    assert report == whole._replace(name="x", notes=report.notes)
    assert not report.notes or names == "tcpdump -G"
    assert all("by its name, and behind it" in note for note in report.notes)


def _differ(frames, i):
    """Files are in order of their first packets, which must not be of one time."""
    return frames[i - 1][0] // 1000 < frames[i][0] // 1000


def write_parts(folder, *pieces):
    for i, piece in enumerate(pieces):
        (folder / f"x.pcap{i or ''}").write_bytes(build.pcap(piece))
    return parts.match_files("x", f"{folder}/x.pcap*")


def test_a_gap_and_an_overlap_between_files_are_said(tmp_path):
    first, later = build.call(), build.call("b", build.START_NS + 90 * 10**9)
    _, _, report = events.read_events(write_parts(tmp_path, first, later))
    assert report.notes == (
        "nothing for 88.0 s between x.pcap and x.pcap1: is a file missing?",
    )
    beside = build.call("b", build.START_NS + 500 * MS)
    session = write_parts(tmp_path, first, beside)
    got, _, report = events.read_events(session)
    assert report.notes == (
        "x.pcap1 begins 1.50 s before x.pcap ends: their packets are put in order of "
        "time",
    )
    together = tmp_path / "together"
    together.write_bytes(build.pcap(sorted(first + beside)))
    want, _, _ = events.read_events(together)
    for column, wanted in zip(got, want):
        np.testing.assert_array_equal(column, wanted)
    assert report.causes == {"reordered": 1}


@pytest.mark.parametrize(
    "hours, says",
    [
        ((0, 1, 2, 3), ""),
        ((2, 3, 0, 1), ""),  # a ring that has begun again
        (
            (0, 3, 1, 2),
            "x.pcap1 comes before x.pcap3 by its name, and behind it by its time: was "
            "the clock set, or are these several captures? They are read in order of "
            "time",
        ),
    ],
)
def test_names_of_another_order_than_the_times_are_said(tmp_path, hours, says):
    starts_ns = [build.START_NS + hour * 3600 * 10**9 for hour in hours]
    pieces = [build.call(f"call-{start_ns}", start_ns) for start_ns in starts_ns]
    _, _, report = events.read_events(write_parts(tmp_path, *pieces))
    assert [line for line in report.notes if "name" in line] == [says] * bool(says)
    (tmp_path / "x.pcap2").rename(tmp_path / "x.pcap_of_friday")
    session = parts.match_files("x", f"{tmp_path}/x.pcap*")
    assert not any("name" in line for line in events.read_events(session)[2].notes)


def test_a_file_that_is_no_capture_is_named(tmp_path):
    session = write_parts(tmp_path, build.call())
    (tmp_path / "x.pcap.txt").write_text("notes")
    session = parts.match_files("x", f"{tmp_path}/x.pcap*")
    with pytest.raises(SiamjaxError, match=r"^x: x.pcap.txt: not a capture.*pattern"):
        events.read_events(session)


def test_ingest_names_a_session_in_the_labels(tmp_path):
    folder = tmp_path / "in"
    (folder / "ring").mkdir(parents=True)
    frames = build.call() + build.call("b", build.START_NS + 3000 * MS)
    for i, cut in enumerate((0, 5, 10)):
        data = build.pcap(frames[cut : cut + 5])
        (folder / f"ring/trunk.pcap{i or ''}").write_bytes(data)
    (folder / "a.pcap").write_bytes(build.pcap(frames))
    rows = ["a.pcap,delay,1,", "trunk,delay,1,", "ring/trunk.pcap,normal,,"]
    head = "file,condition,onset_s,clear_s\n"
    (folder / "labels.csv").write_text(head + "\n".join(rows) + "\n")
    flags = [f"--captures={folder}", f"--labels={folder}/labels.csv", "--workers=1"]
    flags += [f"--out={tmp_path / 'out'}", "--session=trunk=ring/trunk.pcap*"]
    done = commands.run("ingest", *flags)
    assert done.returncode == 0, done.stderr
    assert "ring/trunk.pcap: part of a session, which has the label" in done.stdout
    one, other = prepared.read_data_set(tmp_path / "out").sessions
    assert (one.name, other.name) == ("a", "trunk") and one.labels == other.labels
    np.testing.assert_array_equal(one.events.time_ns, other.events.time_ns)
    np.testing.assert_array_equal(one.events.latency_ns, other.events.latency_ns)
    meta = json.loads((tmp_path / "out/meta.json").read_text())
    assert set(meta["captures_sha256"]) == {"a.pcap", "trunk"}
    done = commands.run("ingest", *flags)
    assert "is up to date" in done.stdout
    (folder / "ring/trunk.pcap3").write_bytes(build.pcap(frames[-1:]))
    done = commands.run("ingest", *flags)
    assert "1 of 2 files were read before" in done.stdout


def test_a_wrong_session_is_one_line(tmp_path):
    files = {"a.pcap": tmp_path / "a.pcap", "b.pcap": tmp_path / "b.pcap"}
    for sessions, reason in (
        ({"x": "c*"}, "no capture has such a path"),
        ({"x": "*", "y": "b*"}, "b.pcap is in two sessions"),
        ({"b.pcap": "a*"}, "a file has this name"),
    ):
        with pytest.raises(UsageError, match=reason):
            sources.group_files(files, sessions)
    for texts, reason in (
        (["x"], "write NAME=GLOB"),
        (["=a*"], "write NAME=GLOB"),
        (["x=a", "x=b"], "there twice"),
    ):
        with pytest.raises(UsageError, match=reason):
            parts.parse_sessions(texts)
    with pytest.raises(UsageError, match="there is no such file"):
        parts.match_files("x", f"{tmp_path}/nothing*")
